"""A receiver that stops reading, but sends as much as it can; it tells what memory that takes.

A program of its own, for :mod:`test_stream_memory`: it prints its memory in bytes before there is
a stream, and once more when nothing moves any more.
"""

import os
import sys
from pathlib import Path

import trio

from trio_p2p import P2PStream, open_p2p_listener

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PIECE = bytes(65536)
BULK_BYTES = 2**26
STILL = 1.0  # seconds in which nothing more is sent: then the stream is clogged


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def exchange(stream: P2PStream) -> None:
    """Send and receive a lot, so that the windows grow."""

    async def send() -> None:
        for _ in range(BULK_BYTES // len(PIECE)):
            await stream.send_all(PIECE)

    received = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while received < BULK_BYTES:
            received += len(await stream.receive_some(BULK_BYTES - received))


async def clog(stream: P2PStream) -> None:
    is_clogged = False
    while not is_clogged:
        with trio.move_on_after(STILL) as scope:
            await stream.send_all(PIECE)
        is_clogged = scope.cancelled_caught


async def main(port: int) -> None:
    async with open_p2p_listener("clogged", ("127.0.0.1", port)) as listener:
        # One stream before, so that what all of them share is there already.
        async with await listener.accept() as warm_up:
            await warm_up.send_all(await warm_up.receive_some())
            await warm_up.receive_some()
        print(resident_bytes(), flush=True)
        stream = await listener.accept()
        await exchange(stream)
        await clog(stream)
        print(resident_bytes(), flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
