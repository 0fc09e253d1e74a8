"""How often a peer guesses ports towards one address, under all its names together. Sans-IO.

The SYNs may go to a carrier's NAT, and a peer with a hundred names sends it no more than others.
"""

from __future__ import annotations

import attrs

from .._addresses import IPAddress

GUESSING_INTERVAL = 60.0  # seconds between two connections that are guessed for towards an address
# Of one connection, in different rounds: a guess comes to nothing in one case of sixty.
GUESSES_PER_CONNECTION = 2


@attrs.define
class _Guessed:
    """The last guesses towards one address."""

    search: bytes
    began_at: float
    count: int = 1


class Guesses:
    """The guesses of one peer."""

    def __init__(self) -> None:
        self._guessed: dict[IPAddress, _Guessed] = {}

    def take(self, address: IPAddress, search: bytes, now: float) -> bool:
        """Whether a guess is due; if so, it counts as done.

        Args:
            address: where the SYNs would go.
            search: the id of the connection that they are for.
            now: the time in seconds.
        """
        self._guessed = {
            known: guessed
            for known, guessed in self._guessed.items()
            if now < guessed.began_at + GUESSING_INTERVAL
        }
        guessed = self._guessed.get(address)
        if guessed is None:
            self._guessed[address] = _Guessed(search, now)
            return True
        if guessed.search != search or guessed.count == GUESSES_PER_CONNECTION:
            return False
        guessed.count += 1
        return True
