"""Joins a stream with standard input and output."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import trio

from .._errors import P2PError
from .run import CommandError
from .standard_streams import (
    CHUNK_BYTES,
    end_standard_output,
    read_standard_input,
    write_standard_output,
)


async def bridge_standard_streams(stream: trio.abc.HalfCloseableStream) -> None:
    """Copy both ways until both have ended, then close the stream.

    The end of one way is passed on while the other one goes on.

    Raises:
        CommandError: one of the ways broke.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_standard_input, stream)
        nursery.start_soon(_write_standard_output, stream)
    with _broken_explained():
        await stream.aclose()


async def _send_standard_input(stream: trio.abc.HalfCloseableStream) -> None:
    while data := await read_standard_input():
        with _broken_explained():
            await stream.send_all(data)
    with _broken_explained():
        await stream.send_eof()


async def _write_standard_output(stream: trio.abc.HalfCloseableStream) -> None:
    while True:
        with _broken_explained():
            data = await stream.receive_some(CHUNK_BYTES)
        if not data:
            break
        await write_standard_output(data)
    end_standard_output()


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
