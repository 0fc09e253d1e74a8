"""Joins a stream with standard input and output."""

from __future__ import annotations

import trio

from .._stream.p2p_stream import P2PStream
from .cut import broken_error, broken_explained, wait_closed_by_peer
from .run import CommandError
from .standard_streams import (
    CHUNK_BYTES,
    end_standard_output,
    has_standard_input,
    read_standard_input,
    write_standard_output,
)


async def bridge_standard_streams(stream: trio.abc.HalfCloseableStream) -> None:
    """Copy both ways until both have ended, then close the stream.

    The end of one way is passed on while the other one goes on. If the stream breaks, both ways end
    at once, though there may be more to come on standard input; also if the peer has closed it and
    standard input has nothing to send now.

    Raises:
        CommandError: one of the ways broke.
    """
    unread: CommandError | None = None
    async with trio.open_nursery() as nursery:
        watching = trio.CancelScope()
        nursery.start_soon(_write_standard_output, stream, watching, nursery.cancel_scope)
        unread = await _send_standard_input(stream)
        watching.cancel(reason="both ways have ended")
    if unread is not None:
        raise unread
    with broken_explained():
        await stream.aclose()


async def _send_standard_input(stream: trio.abc.HalfCloseableStream) -> CommandError | None:
    """Send until the end, or until the peer reads no more; what is to be said of that then.

    What the peer has sent before it closed the stream is of use nevertheless.
    """
    while data := await read_standard_input():
        try:
            await stream.send_all(data)
        except trio.BrokenResourceError as error:
            if error.__cause__ is None:
                return broken_error(error)
            raise broken_error(error) from error
    with broken_explained():
        await stream.send_eof()
    return None


async def _write_standard_output(
    stream: trio.abc.HalfCloseableStream, watching: trio.CancelScope, sending: trio.CancelScope
) -> None:
    while True:
        with broken_explained():
            data = await stream.receive_some(CHUNK_BYTES)
        if not data:
            break
        await write_standard_output(data)
    end_standard_output()
    if isinstance(stream, P2PStream):  # a raw one tells of its end to senders only
        with watching, broken_explained():
            await wait_closed_by_peer(stream)
            if not has_standard_input():  # else to send it fails, or it ends
                sending.cancel(reason="the peer has closed the stream")
