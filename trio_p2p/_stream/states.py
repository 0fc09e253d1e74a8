"""The states and events of a session, and its two sides. Pure."""

from __future__ import annotations

import enum
from typing import Final


class SessionRole(enum.Enum):
    """Which side of a session this is."""

    OPENER = "brings the paths, and says hello first"
    ACCEPTOR = "takes the paths"


class SessionState(enum.Enum):
    """What carries a session."""

    DETACHED = "no path"
    GREETING = "a path; waiting for the other side's hello"
    ATTACHED = "a path that both have greeted on"
    FINISHED = "both sides are done with it"
    BROKEN = "given up"


class SessionEvent(enum.Enum):
    """What changes the state of a session."""

    PATH_OPENED = "a path leads to the acceptor"
    PATH_ACCEPTED = "a path came, with the opener's hello"
    GREETED = "the acceptor's hello came"
    PATH_LOST = "the path is gone"
    COMPLETED = "all is said, and nothing more will be"
    FAILED = "it cannot go on"


TRANSITIONS: Final[dict[tuple[SessionState, SessionEvent], SessionState]] = {
    (SessionState.DETACHED, SessionEvent.PATH_OPENED): SessionState.GREETING,
    (SessionState.DETACHED, SessionEvent.PATH_ACCEPTED): SessionState.ATTACHED,
    (SessionState.DETACHED, SessionEvent.COMPLETED): SessionState.FINISHED,
    (SessionState.DETACHED, SessionEvent.FAILED): SessionState.BROKEN,
    (SessionState.GREETING, SessionEvent.GREETED): SessionState.ATTACHED,
    (SessionState.GREETING, SessionEvent.PATH_OPENED): SessionState.GREETING,
    (SessionState.GREETING, SessionEvent.PATH_LOST): SessionState.DETACHED,
    (SessionState.GREETING, SessionEvent.COMPLETED): SessionState.FINISHED,
    (SessionState.GREETING, SessionEvent.FAILED): SessionState.BROKEN,
    (SessionState.ATTACHED, SessionEvent.PATH_OPENED): SessionState.GREETING,
    (SessionState.ATTACHED, SessionEvent.PATH_ACCEPTED): SessionState.ATTACHED,
    (SessionState.ATTACHED, SessionEvent.PATH_LOST): SessionState.DETACHED,
    (SessionState.ATTACHED, SessionEvent.COMPLETED): SessionState.FINISHED,
    (SessionState.ATTACHED, SessionEvent.FAILED): SessionState.BROKEN,
}
