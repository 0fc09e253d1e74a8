"""A TCP service, reached through NATs: what `trio-p2p expose` and `forward` do, in few lines.

python expose.py expose UID BROKER PORT
python expose.py forward UID BROKER PORT
"""

import sys
from functools import partial

import trio

import trio_p2p


async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.HalfCloseableStream) -> None:
    """Copy one direction, and its end."""
    async for chunk in source:
        await sink.send_all(chunk)
    await sink.send_eof()


async def join(one: trio.abc.HalfCloseableStream, other: trio.abc.HalfCloseableStream) -> None:
    """Copy both directions. If either breaks, so does the other."""
    async with one, other, trio.open_nursery() as nursery:
        nursery.start_soon(copy, one, other)
        nursery.start_soon(copy, other, one)


async def main(what: str, uid: str, broker: str, port: str) -> None:
    async def to_service(stream: trio_p2p.P2PStream) -> None:
        try:
            await join(stream, await trio.open_tcp_stream("127.0.0.1", int(port)))
        except* (OSError, trio.BrokenResourceError) as group:
            stream.abort(f"the service has failed: {group.exceptions[0]}")

    async def to_peer(connection: trio.SocketStream) -> None:
        try:
            await join(connection, await peer.open_stream(uid))
        except* (trio_p2p.P2PError, trio.BrokenResourceError) as group:
            print(f"a connection was cut: {group.exceptions[0]}", file=sys.stderr)

    async with trio_p2p.open_peer(broker) as peer, trio.open_nursery() as nursery:
        if what == "expose":
            await peer.serve(uid, to_service)
        [listener] = await nursery.start(
            partial(trio.serve_tcp, to_peer, int(port), host="127.0.0.1")
        )
        print(f"listening on port {listener.socket.getsockname()[1]}", flush=True)


what, uid, broker, port = sys.argv[1:]
trio.run(main, what, uid, broker, port)
