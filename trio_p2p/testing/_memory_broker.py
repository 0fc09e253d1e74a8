"""A broker of a memory network, which can be stopped and started again."""

from __future__ import annotations

from typing import Any, Final

import trio

from .._broker.serve import serve_broker
from ._memory_host import MemoryHost

BROKER_PORT: Final = 7000


class MemoryBroker:
    """A broker of a memory network; :meth:`MemoryNetwork.start_broker` starts one.

    Attributes:
        host: where it runs.
    """

    def __init__(self, host: MemoryHost, nursery: trio.Nursery, options: dict[str, Any]) -> None:
        self.host = host
        self._nursery = nursery
        self._options = options
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self._stopped.set()

    @property
    def address(self) -> str:
        """What peers are given as their broker."""
        return f"{self.host.address}:{BROKER_PORT}"

    async def start(self) -> None:
        """Start it, unless it runs; knows nothing of what it knew before."""
        if self._stopped.is_set():
            self._scope = trio.CancelScope()
            self._stopped = trio.Event()
            with self.host.in_use():
                await self._nursery.start(self._serve)

    async def stop(self) -> None:
        """Stop it: connections to it end, and new ones are refused."""
        self._scope.cancel(reason="the broker is stopped")
        await self._stopped.wait()

    async def _serve(self, *, task_status: trio.TaskStatus[object]) -> None:
        try:
            with self._scope:
                await serve_broker(BROKER_PORT, **self._options, task_status=task_status)
        finally:
            self._stopped.set()
