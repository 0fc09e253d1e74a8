"""Receives so many bytes of a stream, and none of what follows."""

from __future__ import annotations

import trio


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    """The next bytes of a stream.

    Raises:
        trio.BrokenResourceError: the stream broke, or has ended before.

    If cancelled, some of them are lost.
    """
    received = b""
    while len(received) < count:
        data = await stream.receive_some(count - len(received))
        if not data:
            raise trio.BrokenResourceError("the other side has ended the stream")
        received += data
    return received
