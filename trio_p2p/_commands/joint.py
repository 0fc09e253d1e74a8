"""Joins a TCP connection with a stream to a peer, as if it led to the other side's."""

from __future__ import annotations

import trio

from .._errors import P2PError
from .._stream.p2p_stream import P2PStream
from .cut import wait_closed_by_peer
from .resets import Resets, reset
from .standard_streams import CHUNK_BYTES


async def join(connection: trio.SocketStream, stream: P2PStream, resets: Resets) -> str | None:
    """Copy both ways until both have ended, then close both.

    The end of one way is passed on while the other one goes on, and no more is taken of one side
    than the other one has room for. A reset of the connection aborts the stream, and the other way
    round; so does cancelling.

    Args:
        connection: the connection.
        stream: the stream.
        resets: tells of the connection's.

    Returns:
        Why the stream broke, or None if it did not.
    """
    are_whole, why_broken = False, None
    try:
        with resets.cancelling_on_reset(connection):
            await _copy_both_ways(connection, stream)
            are_whole = True
    except* trio.BrokenResourceError as group:
        why_broken = _why_broken(group)
    finally:
        if are_whole:
            connection.socket.close()
            stream.begin_closing()
        else:
            reset(connection)
            stream.abort("the TCP connection at its end was reset")
    return why_broken


async def _copy_both_ways(connection: trio.SocketStream, stream: P2PStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_closed_by_peer, stream)
        async with trio.open_nursery() as ways:
            ways.start_soon(_copy, stream, connection)
            await _copy(connection, stream)
        nursery.cancel_scope.cancel(reason="both ways have ended")


async def _copy(source: trio.abc.ReceiveStream, target: trio.abc.HalfCloseableStream) -> None:
    while data := await source.receive_some(CHUNK_BYTES):
        await target.send_all(data)
    await target.send_eof()


def _why_broken(group: BaseExceptionGroup[trio.BrokenResourceError]) -> str | None:
    """What broke the stream, if it was not the connection that broke."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            if why := _why_broken(error):
                return why
        elif isinstance(error.__cause__, P2PError):
            return str(error.__cause__)
    return None
