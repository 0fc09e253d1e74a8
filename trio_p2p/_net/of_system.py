"""What a Trio run has once for each system in use: in a test there may be several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from .system import System, current_system

T = TypeVar("T")


class OfSystem(Generic[T]):
    """Something of which there is one for each system, as long as a Trio run lasts.

    Args:
        name: what it is.
        make: makes one, when the first is asked for.
    """

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self._made: trio.lowlevel.RunVar[dict[System, T]] = trio.lowlevel.RunVar(name)
        self._make = make

    def get(self) -> T:
        """That of the system in use."""
        made: dict[System, T]
        try:
            made = self._made.get()
        except LookupError:
            made = {}
            self._made.set(made)
        system = current_system()
        found = made.get(system)
        if found is None:
            found = made[system] = self._make()
        return found
