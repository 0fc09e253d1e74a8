"""One path's share of a session: all that begins anew with each path, and its timers. Sans-IO."""

from __future__ import annotations

from .frames import FrameParser

# Seconds. A side that has nothing to say sends a PING: sooner while the other side waits for
# something, so that a dead path is noticed within 15 s; otherwise within the shortest lifetimes of
# NATs' mappings that are seen in the wild.
BUSY_HEARTBEAT_TIME = 5.0
IDLE_HEARTBEAT_TIME = 20.0
BUSY_SILENCE_TIME = 12.0
IDLE_SILENCE_TIME = 45.0


class Leg:
    """What a session knows of the path that carries it, or carried it last.

    Args:
        number: which one of the session's paths it is, from 1 on; 0 before the first.
        greeting: the hello of this side, which it begins with.
        now: the time in seconds.

    Attributes:
        number: the argument of this name.
        began_at: when it began.
        greeting: the hello, until it is sent.
        frames: what the other side has begun to say.
        last_sent_at: when this side said something.
        last_heard_at: when the other side did.
        is_greeted: whether the other side has said its hello over it.
        has_told: whether this side has said over it that it knows that the other has closed.
    """

    __slots__ = (
        "began_at",
        "frames",
        "greeting",
        "has_told",
        "is_greeted",
        "last_heard_at",
        "last_sent_at",
        "number",
    )

    def __init__(self, number: int, greeting: bytes, now: float) -> None:
        self.number: int = number
        self.began_at: float = now
        self.greeting: bytes = greeting
        self.frames: FrameParser = FrameParser()
        self.last_sent_at: float = now
        self.last_heard_at: float = now
        self.is_greeted: bool = False
        self.has_told: bool = False

    def take_greeting(self) -> bytes:
        """The hello if it has not been taken yet, else nothing."""
        greeting, self.greeting = self.greeting, b""
        return greeting

    def heartbeat_at(self, *, is_busy: bool) -> float:
        """When to say something.

        Args:
            is_busy: whether either side waits for anything to arrive.
        """
        return self.last_sent_at + (BUSY_HEARTBEAT_TIME if is_busy else IDLE_HEARTBEAT_TIME)

    def dead_at(self, busy_since: float) -> float:
        """When to give up if nothing is heard until then.

        Args:
            busy_since: since when this side waits for an answer; infinite if it does not.
        """
        return min(
            self.last_heard_at + IDLE_SILENCE_TIME,
            max(self.last_heard_at, busy_since) + BUSY_SILENCE_TIME,
        )
