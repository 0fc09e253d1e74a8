"""The time that a sender has to prove itself, from its introduction until it is admitted."""

from __future__ import annotations

import math

import trio

from .slots import Slot


class Probation:
    """One introduction's time limit, and its slot.

    Args:
        scope: what the time limit ends.
        slot: what another introduction may take meanwhile.
    """

    def __init__(self, scope: trio.CancelScope, slot: Slot) -> None:
        self._scope = scope
        self._slot = slot

    def extend(self, seconds: float) -> None:
        """Give a peer that was admitted before more time, from now on."""
        self._slot.is_proven = True
        self._scope.deadline = trio.current_time() + seconds

    def end(self) -> None:
        """Lift the time limit, as the sender is admitted."""
        self._slot.is_proven = True
        self._scope.deadline = math.inf
