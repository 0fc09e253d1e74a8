"""Gives files over a stream."""

from __future__ import annotations

from collections.abc import Callable

import trio

from .given_tree import GivenTree
from .giver import Giver
from .messages import Decline, encode
from .tally import Tally

REQUEST_BYTES = 2**16


async def give(
    stream: trio.abc.HalfCloseableStream,
    tree: GivenTree,
    tally: Tally,
    may_begin: Callable[[], bool],
) -> bool:
    """Offer files, and send those that are asked for.

    Args:
        stream: the stream; who has it closes it.
        tree: the files.
        tally: what to count in.
        may_begin: called with each request for files: whether they are this peer's to take.

    Returns:
        Whether the peer has them all. If not it has ended the stream before.

    Raises:
        FilesError: the peer declines.
        RemoteProtocolError: it says what it must not.
        trio.BrokenResourceError: the stream broke.

    If cancelled, the peer has a part of the files.
    """
    giver = Giver(tree, tally, trio.from_thread.check_cancelled)
    try:
        await stream.send_all(giver.offer())
        while not giver.is_done:
            data = await stream.receive_some(REQUEST_BYTES)
            if not data:
                return False
            giver.take_untrusted(data)
            if giver.is_wanted and not may_begin():
                await stream.send_all(encode(Decline("another peer takes the files")))
                return False
            while answer := await trio.to_thread.run_sync(giver.next_answer):
                try:
                    await stream.send_all(answer)
                except trio.BrokenResourceError:
                    # The peer may have said why, and closed the stream at once.
                    data = await stream.receive_some(REQUEST_BYTES)  # noqa: ASYNC120 - Cancelled may come out
                    giver.take_untrusted(data)
                    raise
        return True
    finally:
        giver.close()
