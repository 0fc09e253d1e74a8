"""Memory for what is encrypted, used again and again: what is warm in the cache costs half as much.

All paths of a Trio run share it, and those hold some of it that have something left to send.
"""

from __future__ import annotations

from typing import Final

import trio

MAX_SPARE: Final = 4  # pieces that are kept while no path uses them


class SpareMemory:
    """Pieces of memory that nothing uses just now."""

    def __init__(self) -> None:
        self._spare: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """Memory of at least so many bytes, with anything in it."""
        if self._spare and len(self._spare[-1]) >= size:
            return self._spare.pop()
        return bytearray(size)

    def give_back(self, memory: bytearray) -> None:
        """Take memory back that nothing uses any more."""
        if len(self._spare) == MAX_SPARE:
            del self._spare[0]
        self._spare.append(memory)


def spare_memory_of_this_run() -> SpareMemory:
    """What all paths of a Trio run share."""
    try:
        return _spare.get()
    except LookupError:
        spare = SpareMemory()
        _spare.set(spare)
        return spare


_spare: trio.lowlevel.RunVar[SpareMemory] = trio.lowlevel.RunVar("the spare memory of this run")
