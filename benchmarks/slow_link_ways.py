"""Requests beside a transfer, on two streams: of one connection, or with a connection each."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from trio_p2p import open_peer

from .ping_pongs import ping, pong
from .request_programs import split_address
from .slow_link_programs import DONE, PIECE_BYTES, TRANSFER_BYTES, Client, Way, play
from .ssl_identities import open_ssl_stream, serve_ssl
from .stream_ways import DIRECT, open_receiving_peer

_UID = "slow link"


async def _serve_p2p(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with open_receiving_peer(host) as (peer, port), trio.open_nursery() as nursery:
        for protocol, handler in {"requests": pong, "transfers": _receive_transfers}.items():
            await nursery.start(partial(peer.serve, _UID, handler, protocol=protocol))
        task_status.started(f"{host}:{port}")


@asynccontextmanager
async def _open_p2p_client(address: str) -> AsyncGenerator[Client]:
    async with (
        open_peer(address, techniques=DIRECT) as peer,
        await peer.open_stream(_UID, protocol="requests") as requests,
        await peer.open_stream(_UID, protocol="transfers") as transfers,
    ):
        yield Client(partial(ping, requests), partial(_transfer, transfers))


async def _serve_ssl(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with trio.open_nursery() as nursery:
        handlers = pong, _receive_transfers
        ports = [await nursery.start(serve_ssl, handler, host) for handler in handlers]
        task_status.started(" ".join(f"{host}:{port}" for port in ports))


@asynccontextmanager
async def _open_ssl_client(addresses: str) -> AsyncGenerator[Client]:
    of_requests, of_transfers = map(split_address, addresses.split())
    async with (
        await open_ssl_stream(of_requests) as requests,
        await open_ssl_stream(of_transfers) as transfers,
    ):
        yield Client(partial(ping, requests), partial(_transfer, transfers))


async def _transfer(stream: trio.abc.Stream) -> None:
    piece = bytes(PIECE_BYTES)
    for _ in range(TRANSFER_BYTES // PIECE_BYTES):
        await stream.send_all(piece)
    if await stream.receive_some() != DONE:
        raise RuntimeError("the server has ended the stream instead of taking the transfer")


async def _receive_transfers(stream: trio.abc.Stream) -> None:
    missing = TRANSFER_BYTES
    while data := await stream.receive_some():
        missing -= len(data)
        if not missing:
            await stream.send_all(DONE)
            missing = TRANSFER_BYTES


WAYS = {
    "one connection": Way(_serve_p2p, _open_p2p_client),
    "two connections": Way(_serve_ssl, _open_ssl_client),
}

if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    play(WAYS[name], rest)
