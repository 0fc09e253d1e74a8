"""The fast introductions that receivers were told of and may still decline. Sans-IO."""

from __future__ import annotations

from typing import NamedTuple

from .connection import Connection, Registration

MAX_TOLD = 256  # for each registration, the last ones
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
        # Of each connection by registration, and the oldest first: a name's many senders are not to
        # push out those of another one.
        self._of_receiver: dict[Connection, dict[Registration, dict[bytes, Told]]] = {}

    def add(
        self, receiver: Registration, nonce: bytes, sender: Connection, number: int, now: float
    ) -> None:
        """Remember that a receiver is told of a sender."""
        of_connection = self._of_receiver.get(receiver.connection)
        if of_connection is None:
            of_connection = self._of_receiver[receiver.connection] = {}
        told = of_connection.get(receiver)
        if told is None:
            told = of_connection[receiver] = {}
        told[nonce] = Told(sender, number, now + TOLD_TIME)
        if len(told) > MAX_TOLD:
            del told[next(iter(told))]

    def pop(self, connection: Connection, nonce: bytes) -> Told | None:
        """The introduction that is declined on a connection; None if there is none, or no more."""
        for told in self._of_receiver.get(connection, {}).values():
            if nonce in told:
                return told.pop(nonce)
        return None

    def forget_old(self, connection: Connection, now: float) -> None:
        """Forget what cannot be declined on a connection any more."""
        for receiver, told in list(self._of_receiver.get(connection, {}).items()):
            while told and (oldest := next(iter(told))) and told[oldest].until <= now:
                del told[oldest]
            if not told:
                self.end(receiver)

    def end(self, receiver: Registration) -> None:
        """Forget what was told over a registration that has ended."""
        of_connection = self._of_receiver.get(receiver.connection)
        if of_connection is not None:
            of_connection.pop(receiver, None)
            if not of_connection:
                del self._of_receiver[receiver.connection]
