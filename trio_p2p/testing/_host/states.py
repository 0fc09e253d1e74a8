"""How far a simulated TCP connection is, and what it needs of its host."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .segments import Segment
    from .tcp import Connection


class State(enum.IntEnum):
    """How far a connection is, by the numbers of Linux's TCP_INFO."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECEIVED = 3
    TIME_WAIT = 6
    CLOSED = 7

    @property
    def is_over(self) -> bool:
        """Whether nothing is received or sent any more."""
        return self in (State.TIME_WAIT, State.CLOSED)


class Kernel(Protocol):
    """What a connection needs of its host."""

    def transmit(self, connection: Connection, segment: Segment, hops: int | None) -> None:
        """Send a segment, which lives for some hops; for as many as usual if None."""
        ...

    def now(self) -> float:
        """Seconds."""
        ...

    def set_timer(self, connection: Connection) -> None:
        """Have :meth:`Connection.time_out` called at :attr:`Connection.timer`."""
        ...

    def forget(self, connection: Connection) -> None:
        """Pass no more segments to a connection."""
        ...


def nothing() -> None:
    """What a connection tells of its changes while no socket wants to know."""
