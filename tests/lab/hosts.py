"""Trio programs and tools that run inside the namespaces of a lab.

Every Trio program runs in a thread of the test process that has entered the namespace, so its
sockets belong there. Trio's own worker threads are shared between the programs of a process and may
sit in any namespace: what uses the network from `trio.to_thread` (miniupnpc, say) has to be tested
in a process of its own, started with `popen`.
"""

import subprocess
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, TypeVarTuple

import trio

from trio_p2p._commands.namespaces import Namespace

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(namespace: Namespace, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run an async function inside a namespace to its end."""
    return start(namespace, async_fn, *args).result()


def start(namespace: Namespace, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Future[T]:
    """Start an async function inside a namespace, concurrently with others."""

    async def main() -> T:
        return await async_fn(*args)

    return namespace.submit(trio.run, main)


@contextmanager
def running(
    namespace: Namespace, async_fn: Callable[..., Awaitable[object]], *args: object
) -> Generator[Any]:
    """Run what `nursery.start` accepts inside a namespace, until the end of the block.

    Gives the started value. When the program fails, the end of the block raises the failure.
    """
    started: Future[tuple[Any, trio.CancelScope, trio.lowlevel.TrioToken]] = Future()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            value = await nursery.start(async_fn, *args)
            started.set_result((value, nursery.cancel_scope, trio.lowlevel.current_trio_token()))

    finished = namespace.submit(trio.run, main)
    either: list[Future[Any]] = [started, finished]
    wait(either, return_when=FIRST_COMPLETED)
    if not started.done():
        _result(finished)
    value, cancel_scope, token = started.result()
    try:
        yield value
    finally:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(lambda: cancel_scope.cancel(reason="the test is over"))
        _result(finished)


def _result(finished: Future[None]) -> None:
    # The nursery is ours, so its group around a single failure is nobody else's business.
    try:
        finished.result()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


@contextmanager
def popen(namespace: Namespace, *argv: str) -> Generator[subprocess.Popen[str]]:
    """Start a program inside a namespace, with pipes; at the end it is killed if it still runs."""

    def open_process() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    with namespace.call(open_process) as process:
        try:
            yield process
        finally:
            process.kill()
