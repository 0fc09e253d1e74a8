"""Waits of one task each, which are many: a ParkingLot takes three times the memory and time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import trio


class Sleeper:
    """Where one task at a time waits until it is waked up."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def __bool__(self) -> bool:
        """Whether a task waits."""
        return self._task is not None

    def sleep(self) -> Awaitable[Any]:
        """Wait until :meth:`wake` is called. What this returns is to be awaited at once."""
        assert self._task is None
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._cancelled)  # noqa: ASYNC105 - the caller does

    def wake(self) -> None:
        """Wake the task up that waits, if one does."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _cancelled(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
