"""Keeps some descriptors in reserve, for what serves the clients that are connected already."""

from __future__ import annotations

from .._net.system import System

# A circuit has two descriptors for a pipe while bytes pass, and a call back has one.
MAX_RESERVE = 256
RESERVE_PART = 8  # or of this part of all descriptors, if that is less
FEW = 512  # descriptors, of which nearly any process may open so many


class Descriptors:
    """Counts the connections of clients against the descriptors that they may have.

    Args:
        system: whose descriptors these are.

    Attributes:
        in_use: how many connections there are.
        most: how many there may be.
    """

    def __init__(self, system: System) -> None:
        try:
            free = system.free_descriptors()
        except OSError:  # the host does not say
            free = FEW
        self.most = free - min(MAX_RESERVE, free // RESERVE_PART)
        self.in_use = 0

    @property
    def are_spent(self) -> bool:
        """Whether some of the reserve is in use."""
        return self.in_use > self.most
