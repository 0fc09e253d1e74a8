"""A nursery for tasks in the background of a context manager."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background_nursery() -> AsyncGenerator[trio.Nursery]:
    """A nursery whose tasks end with the body, and that lets the body's exception out bare.

    An exception group comes out only if a background task failed.
    """
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: ASYNC103, BLE001 - raised below
                # Not through the nursery, which would wrap it, and make another one of a group.
                body_error = error
            finally:
                nursery.cancel_scope.cancel(reason="the context was left")
    except BaseExceptionGroup as group:
        if body_error is None or isinstance(body_error, trio.Cancelled):
            raise
        if group.split(trio.Cancelled)[1] is not None:
            raise BaseExceptionGroup(group.message, [*group.exceptions, body_error]) from None
    if body_error is not None:
        raise body_error
