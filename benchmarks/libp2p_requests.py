"""Requests over py-libp2p, each on a stream of its own of one connection: Noise and Yamux over TCP.

Those are py-libp2p's defaults. A stream is opened as its applications do it, with the negotiation
of its protocol.
"""

import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from .request_programs import ANSWER, REQUEST, Ask, RequestWay, check_answer, play_requests

_PROTOCOL = TProtocol("/requests/1.0.0")


async def _serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    server = new_host()
    server.set_stream_handler(_PROTOCOL, _answer)
    async with server.run(listen_addrs=[Multiaddr(f"/ip4/{host}/tcp/0")]):
        task_status.started(str(server.get_addrs()[0]))
        await trio.sleep_forever()


async def _answer(stream: INetStream) -> None:
    await stream.read()
    await stream.write(ANSWER)
    await stream.close()


@asynccontextmanager
async def _open_client(address: str) -> AsyncGenerator[Ask]:
    client = new_host()
    async with client.run(listen_addrs=[]):
        server = info_from_p2p_addr(Multiaddr(address))
        await client.connect(server)
        yield partial(_ask, client, server.peer_id)


async def _ask(client: IHost, server: ID) -> None:
    stream = await client.new_stream(server, [_PROTOCOL])
    await stream.write(REQUEST)
    await stream.close_write()
    check_answer(len(await stream.read()))
    await stream.close()


if __name__ == "__main__":
    logging.disable()
    play_requests(RequestWay(_serve, _open_client), sys.argv[1:])
