import sys

import trio

import trio_p2p


async def greet(stream: trio_p2p.P2PStream) -> None:
    await stream.send_all(b"hello through two NATs\n")


async def receiver(uid: str, broker: str) -> None:
    await trio_p2p.serve_p2p(greet, uid, broker)


async def sender(uid: str, broker: str) -> None:
    async with trio_p2p.open_p2p_stream(uid, broker) as stream:
        async for chunk in stream:
            print(chunk.decode(), end="")


what, uid, broker = sys.argv[1:]
trio.run(receiver if what == "receive" else sender, uid, broker)
