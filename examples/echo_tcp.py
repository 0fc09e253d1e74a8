import sys

import trio


async def echo(stream: trio.abc.HalfCloseableStream) -> None:
    async with stream:
        async for chunk in stream:
            await stream.send_all(chunk)


async def serve(host: str, port: str) -> None:
    await trio.serve_tcp(echo, int(port), host=host)


async def ask(host: str, port: str) -> None:
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"anyone there?\n")
        await stream.send_eof()
        async for chunk in stream:
            print(chunk.decode(), end="")


what, host, port = sys.argv[1:]
trio.run(serve if what == "serve" else ask, host, port)
