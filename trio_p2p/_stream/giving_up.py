"""When a session is given up: for want of a path, or of progress. Sans-IO."""

from __future__ import annotations

import math

from .._errors import P2PError, PathLostError
from .session import Session

# Seconds that a close may make no progress although there is a path: it takes a round trip.
CLOSING_TIME = 60.0


def give_up_at(session: Session, grace: float) -> float:
    """When to give a session up, unless something changes: bytes that move put it off.

    Args:
        session: the session.
        grace: for how many seconds it waits for a path.
    """
    return min(_without_path(session, grace), session.stalled_since + CLOSING_TIME)


def reason_to_give_up(
    session: Session, grace: float, loss: P2PError | None, now: float
) -> PathLostError | None:
    """Why to give a session up now, if it is time.

    Args:
        session: the session.
        grace: for how many seconds it waits for a path.
        loss: why the last path was lost.
        now: the time in seconds.
    """
    if now >= _without_path(session, grace):
        reason = f"; the last one was lost: {loss}" if loss is not None else ""
        return PathLostError(f"the connection had no path for {grace:g} seconds{reason}")
    if now >= session.stalled_since + CLOSING_TIME:
        return PathLostError("the other side did not say that it has got everything")
    return None


def _without_path(session: Session, grace: float) -> float:
    return math.inf if session.peer_is_closed else session.waiting_since + grace
