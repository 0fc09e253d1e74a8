import sys

import trio

import trio_p2p


async def echo(stream: trio.abc.HalfCloseableStream) -> None:
    async with stream:
        async for chunk in stream:
            await stream.send_all(chunk)


async def serve(uid: str, broker: str) -> None:
    await trio_p2p.serve_p2p(echo, uid, broker)


async def ask(uid: str, broker: str) -> None:
    async with trio_p2p.open_p2p_stream(uid, broker) as stream:
        await stream.send_all(b"anyone there?\n")
        await stream.send_eof()
        async for chunk in stream:
            print(chunk.decode(), end="")


what, uid, broker = sys.argv[1:]
trio.run(serve if what == "serve" else ask, uid, broker)
