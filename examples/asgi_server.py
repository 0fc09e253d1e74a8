"""An ASGI application, served by hypercorn, at the other end of streams.

python asgi_server.py UID BROKER
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import sys
from typing import Any

import hypercorn.config
import hypercorn.trio
import trio

import trio_p2p


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Your application, of Starlette, Quart or another framework."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"this is {scope['path']}\n".encode()})


async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.HalfCloseableStream) -> None:
    async for chunk in source:
        await sink.send_all(chunk)
    await sink.send_eof()


async def main(uid: str, broker: str) -> None:
    async with trio.open_nursery() as nursery:
        config = hypercorn.config.Config()
        config.bind = ["127.0.0.1:0"]
        [url] = await nursery.start(hypercorn.trio.serve, application, config)
        port = int(url.rpartition(":")[2])

        async def join(stream: trio_p2p.P2PStream) -> None:
            web = await trio.open_tcp_stream("127.0.0.1", port)
            async with web, trio.open_nursery() as copies:
                copies.start_soon(copy, stream, web)
                copies.start_soon(copy, web, stream)

        await trio_p2p.serve_p2p(join, uid, broker)


uid, broker = sys.argv[1:]
trio.run(main, uid, broker)
