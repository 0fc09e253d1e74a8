"""Runs handlers of streams, so that the end of one peer ends no other stream."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import trio

from .._errors import LocalProtocolError, shown
from .p2p_stream import P2PStream, reason_of

logger = logging.getLogger("trio_p2p.stream")

Handler: TypeAlias = Callable[[P2PStream], Awaitable[object]]


def check_serving(handler: object, handler_nursery: object) -> None:
    """Make sure that streams can be served by a handler, in a nursery or in one of its own.

    Raises:
        LocalProtocolError: they cannot.
    """
    if not callable(handler):
        raise LocalProtocolError(
            f"{shown(handler)} is no handler: give an async function of a stream"
        )
    if not isinstance(handler_nursery, trio.Nursery | None):
        raise LocalProtocolError(
            f"{shown(handler_nursery)} is no value for handler_nursery=: give a trio.Nursery"
        )


async def handle_stream(handler: Handler, stream: P2PStream) -> bool:
    """Run a handler, and close its stream.

    Args:
        handler: called with the stream.
        stream: the stream.

    Returns:
        Whether the handler has failed only because its peer had gone.
    """
    is_lost = False
    try:
        await handler(stream)
    except BaseException as error:  # noqa: ASYNC103 - one that is not raised is no cancellation
        is_lost = _is_only(error, trio.BrokenResourceError) and stream.has_lost_peer
        is_left = _is_only(error, trio.ClosedResourceError) and stream.is_left
        stream.abort(reason_of(error))  # afterwards, as it ends the stream, too
        if is_lost:
            logger.debug("the peer of a stream has gone while it was served: %s", error)
        elif not is_left:  # by its own peer, which ends all its streams
            raise
    else:
        stream.begin_closing()
    return is_lost


def _is_only(error: BaseException, kind: type[Exception]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(_is_only(each, kind) for each in group.exceptions)
    return isinstance(error, kind)
