"""Notices the end of a stream to a peer, also while no task sends or receives on it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import trio

from .._errors import P2PError
from .._stream.p2p_stream import P2PStream
from .run import CommandError


async def wait_closed_by_peer(stream: P2PStream) -> None:
    """Wait until the peer reads no more.

    Raises:
        trio.BrokenResourceError: the stream broke, or the peer has aborted it.
    """
    path = stream.path
    while True:
        try:
            path = await stream.wait_path_changed(path)
        except trio.BrokenResourceError as error:
            if error.__cause__ is None:  # the peer has closed it
                return
            raise


def cause_of(error: trio.BrokenResourceError) -> object:
    """Why a stream broke, in words for the user."""
    match error.__cause__:
        case OSError() as cause:
            return cause.strerror
        case P2PError() as cause:
            return cause
        case _:
            return error


@contextmanager
def broken_explained() -> Generator[None]:
    """Say to the user why a stream broke.

    Raises:
        CommandError: it broke in the block.
    """
    try:
        yield
    except trio.BrokenResourceError as error:
        raise broken_error(error) from error


def broken_error(error: trio.BrokenResourceError) -> CommandError:
    """What to say to the user of a stream that broke."""
    return CommandError(f"the connection to the peer broke: {cause_of(error)}")
