"""How the two directions of a stream end. Pure."""

from __future__ import annotations

import enum
from typing import Final


class Direction(enum.Enum):
    """What is left of one direction of a stream."""

    OPEN = "bytes may follow"
    ENDING = "no bytes are added, and the end follows those that are left"
    ENDED = "all bytes have passed, and their end"
    DROPPED = "the bytes that follow are not wanted"
    CUT = "the stream was reset: the bytes may be incomplete"


class StreamEvent(enum.Enum):
    """What changes a direction of a stream."""

    FINISH = "this side has no more to send"
    END_SENT = "this side's end has left"
    END_CAME = "the other side's end has come"
    STOP = "the bytes are not read any more"
    RESET = "either side, or the session, has cut the stream short"


SENDING: Final[dict[tuple[Direction, StreamEvent], Direction]] = {
    (Direction.OPEN, StreamEvent.FINISH): Direction.ENDING,
    (Direction.OPEN, StreamEvent.STOP): Direction.DROPPED,
    (Direction.OPEN, StreamEvent.RESET): Direction.CUT,
    (Direction.ENDING, StreamEvent.END_SENT): Direction.ENDED,
    (Direction.ENDING, StreamEvent.STOP): Direction.ENDING,
    (Direction.ENDING, StreamEvent.RESET): Direction.CUT,
    (Direction.ENDED, StreamEvent.STOP): Direction.ENDED,
    (Direction.ENDED, StreamEvent.RESET): Direction.CUT,
    (Direction.DROPPED, StreamEvent.FINISH): Direction.ENDING,
    (Direction.DROPPED, StreamEvent.RESET): Direction.CUT,
}

RECEIVING: Final[dict[tuple[Direction, StreamEvent], Direction]] = {
    (Direction.OPEN, StreamEvent.END_CAME): Direction.ENDED,
    (Direction.OPEN, StreamEvent.STOP): Direction.DROPPED,
    (Direction.OPEN, StreamEvent.RESET): Direction.CUT,
    (Direction.ENDED, StreamEvent.STOP): Direction.ENDED,
    (Direction.ENDED, StreamEvent.RESET): Direction.ENDED,
    (Direction.DROPPED, StreamEvent.END_CAME): Direction.ENDED,
    (Direction.DROPPED, StreamEvent.RESET): Direction.CUT,
}
