"""All that the status page and the metrics show of a running broker."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from ..._attempt import Technique
from ..._broker.counts import Counts
from ..._broker.figures import Figures
from ..._broker.history import STEP, History
from ..._broker.server import Broker
from ..._wire.messages import RefusalCode
from .health import HealthWatch

INTERVAL = 1.0  # seconds between two looks


class Overview:
    """Looks at a broker once in a second while :meth:`run` runs.

    Args:
        broker: the broker.
        counts: what its observer has counted.

    Attributes:
        looked: where to park until the next look.
    """

    def __init__(self, broker: Broker, counts: Counts) -> None:
        self.counts = counts
        self.health: HealthWatch = HealthWatch()
        self.looked = trio.lowlevel.ParkingLot()
        self._broker = broker
        self._history = History(counts, trio.current_time())
        self._cpu_seconds = self.health.look().cpu_seconds
        self._cpu_share = 0.0
        self._relayed_bytes = 0
        self._relayed_rate = 0.0
        self._looked_at = trio.current_time()
        self.steps_ended: int = 0

    @property
    def figures(self) -> Figures:
        """How much of everything there is now."""
        return self._broker.figures

    async def run(self) -> None:
        """Look, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.health.run)
            while True:
                await trio.sleep(INTERVAL)
                self._look()
                self.looked.unpark_all()

    def snapshot(self, *, with_history: bool) -> dict[str, Any]:
        """What the page shows, for JSON.

        Args:
            with_history: whether to include the last half hour.
        """
        counts, health = self.counts, self.health.look()
        shown: dict[str, Any] = {
            "now": attrs.asdict(self.figures),
            "registrations": counts.registrations,
            "introductions": {each.value: counts.introductions[each] for each in Technique},
            "outcomes": {
                "fast": counts.outcomes[Technique.FAST],
                "classic": counts.outcomes[Technique.CLASSIC],
                "none": counts.outcomes[None],
            },
            "refusals": {each.value: counts.refusals[each] for each in RefusalCode},
            "relayed_per_second": self._relayed_rate,
            "process": {**attrs.asdict(health), "cpu_share": self._cpu_share},
        }
        if with_history:
            steps = [attrs.asdict(step) for step in self._history.steps]
            shown["history"] = {"step": STEP, "steps": steps}
        return shown

    def _look(self) -> None:
        now, figures = trio.current_time(), self.figures
        cpu_seconds = self.health.look().cpu_seconds
        elapsed = now - self._looked_at
        if elapsed > 0:
            self._cpu_share = (cpu_seconds - self._cpu_seconds) / elapsed
            self._relayed_rate = (figures.relayed_bytes - self._relayed_bytes) / elapsed
        self._looked_at, self._cpu_seconds = now, cpu_seconds
        self._relayed_bytes = figures.relayed_bytes
        if self._history.note(figures, now):
            self.steps_ended += 1
