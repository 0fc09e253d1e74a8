"""Joins a stream with standard input and output."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import trio

from .._errors import P2PError
from .._stream.p2p_stream import P2PStream
from .run import CommandError
from .standard_streams import (
    CHUNK_BYTES,
    end_standard_output,
    read_standard_input,
    write_standard_output,
)


async def bridge_standard_streams(stream: trio.abc.HalfCloseableStream) -> None:
    """Copy both ways until both have ended, then close the stream.

    The end of one way is passed on while the other one goes on. If the stream breaks, both ways end
    at once, though there may be more to come on standard input.

    Raises:
        CommandError: one of the ways broke.
    """
    async with trio.open_nursery() as nursery:
        watching = trio.CancelScope()
        nursery.start_soon(_write_standard_output, stream, watching)
        await _send_standard_input(stream)
        watching.cancel(reason="both ways have ended")
    with _broken_explained():
        await stream.aclose()


async def _send_standard_input(stream: trio.abc.HalfCloseableStream) -> None:
    while data := await read_standard_input():
        with _broken_explained():
            await stream.send_all(data)
    with _broken_explained():
        await stream.send_eof()


async def _write_standard_output(
    stream: trio.abc.HalfCloseableStream, watching: trio.CancelScope
) -> None:
    while True:
        with _broken_explained():
            data = await stream.receive_some(CHUNK_BYTES)
        if not data:
            break
        await write_standard_output(data)
    end_standard_output()
    with watching:
        await _fail_when_broken(stream)


async def _fail_when_broken(stream: trio.abc.HalfCloseableStream) -> None:
    """Wait until the stream breaks; a raw one tells of that to senders only."""
    if not isinstance(stream, P2PStream):
        return
    path = stream.path
    with _broken_explained():
        while True:
            path = await stream.wait_path_changed(path)


@contextmanager
def _broken_explained() -> Generator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        reason: object
        match error.__cause__:
            case OSError() as cause:
                reason = cause.strerror
            case P2PError() as cause:
                reason = cause
            case _:
                reason = error
        raise CommandError(f"the connection to the peer broke: {reason}") from error
