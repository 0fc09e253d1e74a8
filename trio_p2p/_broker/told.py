"""The fast introductions that a receiver was told of and may still decline. Sans-IO."""

from __future__ import annotations

from typing import NamedTuple

from .connection import Connection

MAX_TOLD = 256  # for each receiver, the last ones
TOLD_TIME = 20.0  # seconds: a receiver gives up an introduction before that


class Told(NamedTuple):
    """One introduction.

    Attributes:
        sender: the connection that asked for it.
        number: of the sender's request.
        until: when the broker forgets it.
    """

    sender: Connection
    number: int
    until: float


class ToldReceivers:
    """Remembers, by nonce, what each receiver was told; nothing of one that was told nothing."""

    def __init__(self) -> None:
        self._of_receiver: dict[Connection, dict[bytes, Told]] = {}  # the oldest first

    def add(
        self, receiver: Connection, nonce: bytes, sender: Connection, number: int, now: float
    ) -> None:
        """A receiver is told of a sender."""
        told = self._of_receiver.setdefault(receiver, {})
        told[nonce] = Told(sender, number, now + TOLD_TIME)
        if len(told) > MAX_TOLD:
            del told[next(iter(told))]

    def pop(self, receiver: Connection, nonce: bytes) -> Told | None:
        """The introduction that a receiver declines; None if there is none, or no more."""
        return self._of_receiver.get(receiver, {}).pop(nonce, None)

    def forget_old(self, receiver: Connection, now: float) -> None:
        """Forget what a receiver cannot decline any more."""
        told = self._of_receiver.get(receiver)
        if told is None:
            return
        while told and (oldest := next(iter(told))) and told[oldest].until <= now:
            del told[oldest]
        if not told:
            del self._of_receiver[receiver]

    def end(self, receiver: Connection) -> None:
        """A receiver is gone."""
        self._of_receiver.pop(receiver, None)
