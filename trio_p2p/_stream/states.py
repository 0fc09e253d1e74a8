"""What carries a session, what changes that, and which side of it this is. Pure."""

from __future__ import annotations

import enum


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
