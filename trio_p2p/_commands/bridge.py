"""Joins a stream with standard input and output."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import trio

from .run import CommandError

CHUNK_BYTES = 262_144


async def bridge_standard_streams(stream: trio.SocketStream) -> None:
    """Copy both ways until both have ended; the end of one way is passed on.

    Raises:
        CommandError: one of the ways broke.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_standard_input, stream)
        nursery.start_soon(_write_standard_output, stream)


async def _send_standard_input(stream: trio.SocketStream) -> None:
    async with _open_standard(0) as standard_input:
        while data := await standard_input.receive_some(CHUNK_BYTES):
            with _explained("the connection to the peer broke"):
                await stream.send_all(data)
    with _explained("the connection to the peer broke"):
        await stream.send_eof()


async def _write_standard_output(stream: trio.SocketStream) -> None:
    async with _open_standard(1) as standard_output:
        while True:
            with _explained("the connection to the peer broke"):
                data = await stream.receive_some(CHUNK_BYTES)
            if not data:
                return
            with _explained("nobody reads the standard output any more"):
                await standard_output.send_all(data)


def _open_standard(descriptor: int) -> trio.lowlevel.FdStream:
    # Its own descriptor, so that closing it tells whoever is at the other end of a pipe.
    try:
        duplicate = os.dup(descriptor)
    except OSError as error:
        raise CommandError("standard input and output must be open") from error
    os.close(descriptor)
    return trio.lowlevel.FdStream(duplicate)


@contextmanager
def _explained(what: str) -> Generator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        raise CommandError(f"{what}: {error}" if str(error) else what) from error
