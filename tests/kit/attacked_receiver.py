"""A receiver whose handlers read nothing: a program of its own, whose memory a test looks at.

It registers "receiver" at the broker whose port it is given, and prints a line.
"""

import sys

import trio

from trio_p2p import P2PStream, open_peer


async def read_nothing(_stream: P2PStream) -> None:
    await trio.sleep_forever()


async def main(port: int) -> None:
    async with open_peer(("127.0.0.1", port)) as peer, trio.open_nursery() as nursery:
        await nursery.start(peer.serve, "receiver", read_nothing)
        print(flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
