"""Carries bytes between two peers whose connections the registry has joined to a circuit.

Each of the two connections' own tasks carries what its peer says to the other one, without looking
at it. An idle circuit must cost little memory, so it is a few numbers and two shallow tasks; what
carries a piece of data is there only while data flow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from .._net.barrier import Barrier
from .._net.system import System, current_system
from .._wire.messages import RefusalCode
from .circuit import HANDSHAKE_TIME, Circuit
from .observer import Observer
from .pipes import PipePool
from .quota import CircuitGrant, RelayQuota

WATCH_TIME = 1.0  # seconds that a circuit may be idle beyond the limit: to look costs, too

logger = logging.getLogger("trio_p2p.broker")


class Relay:
    """All circuits of a broker.

    Args:
        quota: what circuits may carry.
        ended: told of each circuit that has ended.
        observer: told so, too, for the log.

    Attributes:
        quota: the argument of this name.
        system: whose sockets these are.
        carriers: what all circuits share.
    """

    def __init__(
        self, quota: RelayQuota, ended: Callable[[CircuitGrant], object], observer: Observer
    ) -> None:
        self.quota: RelayQuota = quota
        self.system: System = current_system()
        self.carriers: PipePool = PipePool(self.system)
        self._circuits: set[Circuit] = set()
        self._ended = ended
        self._passed = 0  # by circuits that have ended
        self._observer = observer

    def open(
        self, grant: CircuitGrant, sender: trio.SocketStream, receiver: trio.SocketStream
    ) -> Circuit:
        """Join two connections; each one's task has to call :meth:`Circuit.carry` then.

        Nothing passes until :meth:`Circuit.begin`.
        """
        circuit = Circuit(self, grant, sender, receiver)
        self._circuits.add(circuit)
        return circuit

    def ended(self, circuit: Circuit) -> None:
        """Forget a circuit."""
        self._circuits.remove(circuit)
        self._passed += circuit.passed
        self._observer.relay_ended(circuit.passed, trio.current_time() - circuit.opened_at)
        self._ended(circuit.grant)

    @property
    def passed(self) -> int:
        """How many bytes all circuits have carried, those that have ended included."""
        return self._passed + sum(circuit.passed for circuit in self._circuits)

    def change_paces(self) -> None:
        """Keep all circuits to the rates that hold now."""
        for circuit in self._circuits:
            circuit.change_paces()

    def cut_all(self, reason: str) -> None:
        """End all circuits for now, and let their peers know why."""
        for circuit in list(self._circuits):
            circuit.cut(reason, RefusalCode.BUSY)

    def rest(self) -> None:
        """A circuit has stopped carrying: keep no carriers if it was the last one."""
        if not self._circuits:
            self.carriers.close()

    async def watch(self) -> None:
        """Cut the circuits that are idle for too long, until cancelled."""
        while True:
            now = trio.current_time()
            for circuit in list(self._circuits):
                if circuit.deadline <= now:
                    with Barrier(logger, "cutting a circuit"):
                        circuit.cut_idle()
            # One that opens meanwhile lasts as long as that, or longer.
            latest = now + HANDSHAKE_TIME
            deadline = min((circuit.deadline for circuit in self._circuits), default=latest)
            await trio.sleep_until(max(min(deadline, latest), now + WATCH_TIME))
