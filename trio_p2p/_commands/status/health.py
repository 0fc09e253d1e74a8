"""How the broker's process does: its processor time, memory, descriptors, and how late it is."""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import attrs
import trio

DELAY_INTERVAL = 0.25  # seconds between two looks at how late the event loop is
DELAYS = 40  # that are remembered: ten seconds
COUNTING_INTERVAL = 5.0  # seconds between two counts of descriptors: with thousands it takes long


@attrs.frozen
class Health:
    """A process at one moment.

    Attributes:
        cpu_seconds: processor time since it was started.
        memory: resident bytes; 0 where the system does not say.
        descriptors: how many are open; 0 where the system does not say.
        max_descriptors: how many may be.
        loop_delay: by how many seconds a task has run too late at most, in the last ten.
        uptime: for how many seconds this is watched.
    """

    cpu_seconds: float
    memory: int
    descriptors: int
    max_descriptors: int
    loop_delay: float
    uptime: float


class HealthWatch:
    """Watches this process while :meth:`run` runs."""

    def __init__(self) -> None:
        self._delays: deque[float] = deque([0.0], DELAYS)
        self._began_at = time.monotonic()
        self._descriptors = 0
        self._counted_at = -COUNTING_INTERVAL

    async def run(self) -> None:
        """Look how late the event loop is, until cancelled."""
        while True:
            due_at = trio.current_time() + DELAY_INTERVAL
            await trio.sleep_until(due_at)
            self._delays.append(max(0.0, trio.current_time() - due_at))

    def look(self) -> Health:
        """How the process does now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Health(
            cpu_seconds=used.ru_utime + used.ru_stime,
            memory=_resident_bytes(),
            descriptors=self._count_descriptors(),
            max_descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            loop_delay=max(self._delays),
            uptime=time.monotonic() - self._began_at,
        )

    def _count_descriptors(self) -> int:
        now = time.monotonic()
        if now >= self._counted_at + COUNTING_INTERVAL:
            self._counted_at = now
            with suppress(OSError):
                self._descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only counted
        return self._descriptors


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()
