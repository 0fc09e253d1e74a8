"""Requests without a network: what Trio's tasks alone cost, under any way that gives each a task.

Both tasks of a request are in one process. One is started for it and waits to be told; so does then
the one that asks, until that one has answered.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from .request_programs import Ask, RequestWay, play_requests


async def _serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    task_status.started(host)
    await trio.sleep_forever()


@asynccontextmanager
async def _open_client(_: str) -> AsyncGenerator[Ask]:
    async with trio.open_nursery() as handlers:
        yield partial(_ask, handlers)


async def _ask(handlers: trio.Nursery) -> None:
    told, answered = trio.Event(), trio.Event()
    handlers.start_soon(_answer, told, answered)
    told.set()
    await answered.wait()


async def _answer(told: trio.Event, answered: trio.Event) -> None:
    await told.wait()
    answered.set()
    await trio.lowlevel.checkpoint()  # as sending has one


if __name__ == "__main__":
    play_requests(RequestWay(_serve, _open_client), sys.argv[1:])
