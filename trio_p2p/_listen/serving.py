"""Runs a handler for each stream that a listener accepts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import trio

from .._stream.p2p_stream import P2PStream, reason_of
from .listener import P2PListener

logger = logging.getLogger("trio_p2p.receiver")


async def serve_streams(
    listener: P2PListener[P2PStream],
    handler: Callable[[P2PStream], Awaitable[object]],
    handler_nursery: trio.Nursery | None,
) -> None:
    """Serve until the listener is closed, and all handlers have returned.

    Args:
        listener: what to serve.
        handler: called with each stream.
        handler_nursery: where to run the handlers; in a nursery of its own if None.
    """
    handle = partial(_handle, handler, listener)
    async with trio.open_nursery() as nursery:
        handlers = handler_nursery or nursery
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                break
            handlers.start_soon(handle, stream)
        if listener.is_draining:
            await listener.drain()


async def _handle(
    handler: Callable[[P2PStream], Awaitable[object]],
    listener: P2PListener[P2PStream],
    stream: P2PStream,
) -> None:
    """Run a handler, and close its stream; the end of one sender ends nothing else."""
    try:
        await handler(stream)
    except BaseException as error:  # noqa: ASYNC103 - one that is not raised is no cancellation
        stream.abort(reason_of(error))
        is_lost = _is_lost_peer(error, stream)
        if not (is_lost or _is_of_leaving(error, stream)):
            raise
        if is_lost:
            logger.info("a sender of %r has gone while it was served: %s", listener.uid, error)
            listener.note_lost_peer()
    else:
        await trio.aclose_forcefully(stream)


def _is_lost_peer(error: BaseException, stream: P2PStream) -> bool:
    """Whether a handler has failed only because its stream broke."""
    return _is_only(error, trio.BrokenResourceError) and stream.has_lost_peer


def _is_of_leaving(error: BaseException, stream: P2PStream) -> bool:
    """Whether a handler has failed only because the peer was left that its stream belongs to."""
    return _is_only(error, trio.ClosedResourceError) and stream.is_left


def _is_only(error: BaseException, kind: type[Exception]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(_is_only(each, kind) for each in group.exceptions)
    return isinstance(error, kind)
