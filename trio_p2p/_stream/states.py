"""What carries a session, what changes that, and which side of it this is. Pure."""

from __future__ import annotations

import enum
from typing import Final


class Role(enum.Enum):
    """Which side of a session this is."""

    OPENER = "brings the paths, and says hello first"
    ACCEPTOR = "takes the paths"


class State(enum.Enum):
    """What carries a session."""

    DETACHED = "no path"
    GREETING = "a path; waiting for the other side's hello"
    ATTACHED = "a path that both have greeted on"
    FINISHED = "both sides are done with it"
    BROKEN = "given up"


class Event(enum.Enum):
    """What changes that."""

    PATH_OPENED = "a path leads to the acceptor"
    PATH_ACCEPTED = "a path came, with the opener's hello"
    GREETED = "the acceptor's hello came"
    PATH_LOST = "the path is gone"
    COMPLETED = "all is said, and nothing more will be"
    FAILED = "it cannot go on"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.DETACHED, Event.PATH_OPENED): State.GREETING,
    (State.DETACHED, Event.PATH_ACCEPTED): State.ATTACHED,
    (State.DETACHED, Event.COMPLETED): State.FINISHED,
    (State.DETACHED, Event.FAILED): State.BROKEN,
    (State.GREETING, Event.GREETED): State.ATTACHED,
    (State.GREETING, Event.PATH_OPENED): State.GREETING,
    (State.GREETING, Event.PATH_LOST): State.DETACHED,
    (State.GREETING, Event.COMPLETED): State.FINISHED,
    (State.GREETING, Event.FAILED): State.BROKEN,
    (State.ATTACHED, Event.PATH_OPENED): State.GREETING,
    (State.ATTACHED, Event.PATH_ACCEPTED): State.ATTACHED,
    (State.ATTACHED, Event.PATH_LOST): State.DETACHED,
    (State.ATTACHED, Event.COMPLETED): State.FINISHED,
    (State.ATTACHED, Event.FAILED): State.BROKEN,
}
