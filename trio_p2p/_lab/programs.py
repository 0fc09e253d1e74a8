"""Trio programs in threads of this process, each in a place of its own.

A thread that has entered a network namespace opens its sockets there. Trio's own worker threads
are shared between the programs and may sit in any namespace, so that a program which uses the
network from ``trio.to_thread`` has to be a process of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from typing import Any, Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Place(Protocol):
    """Where functions run, each in a thread: a namespace, say."""

    def submit(self, function: Callable[[*Ts], T], /, *args: *Ts) -> Future[T]:
        """Start a function there."""
        ...


def run(place: Place, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run an async function in a place to its end."""
    return start(place, async_fn, *args).result()


def start(place: Place, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Future[T]:
    """Start an async function in a place, concurrently with others, in the caller's context."""

    async def main() -> T:
        return await async_fn(*args)

    return place.submit(_run_in(copy_context(), main))


def _run_in(context: Context, main: Callable[[], Awaitable[T]]) -> Callable[[], T]:
    return lambda: context.run(lambda: trio.run(main))


@contextmanager
def running(
    place: Place, async_fn: Callable[..., Awaitable[object]], *args: object
) -> Generator[Any]:
    """Run what ``nursery.start`` accepts in a place, until the end of the block.

    Gives the started value. When the program fails, the end of the block raises the failure.
    """
    started: Future[tuple[Any, trio.CancelScope, trio.lowlevel.TrioToken]] = Future()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            value = await nursery.start(async_fn, *args)
            started.set_result((value, nursery.cancel_scope, trio.lowlevel.current_trio_token()))

    finished = place.submit(_run_in(copy_context(), main))
    either: list[Future[Any]] = [started, finished]
    wait(either, return_when=FIRST_COMPLETED)
    if not started.done():
        _result(finished)
    value, cancel_scope, token = started.result()
    try:
        yield value
    finally:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(lambda: cancel_scope.cancel(reason="the block has ended"))
        _result(finished)


def _result(finished: Future[None]) -> None:
    # The nursery is ours, so callers do not see its group around a single failure.
    try:
        finished.result()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None  # noqa: ASYNC123
        raise
