"""What comes over a session's paths: bytes to their place, and what each frame does. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from .._errors import RemoteProtocolError
from .farewells import error_of_untrusted
from .frames import Frame, Kind, PathHello
from .leg import Leg
from .session import Session
from .states import SessionState

# How many frames, of the session and of streams, are taken before other tasks have their turn.
# Small frames come by the ten thousand at once, and would hold up the program for long.
TURN_FRAMES: Final = 500

_Handler: TypeAlias = Callable[[Session, Frame, Leg, float], None]


class SessionSink:
    """Takes what comes over one of a session's paths, but no more than a certain number of frames.

    Args:
        session: the session.
        leg: the session's share of the path; None if that is none of the session's any more.
        now: the time in seconds.
    """

    __slots__ = ("_content", "_frames", "_incoming", "_last", "_leg", "_now", "_session")

    def __init__(self, session: Session, leg: Leg | None, now: float) -> None:
        self._session = session
        self._incoming = session.incoming
        self._content = session.content
        self._frames = 0  # of the session
        self._last = self._content.frames + TURN_FRAMES
        self._leg = leg
        self._now = now

    def get_buffer(self, size: int) -> memoryview:
        """Where to put the next bytes.

        Args:
            size: how many are there, about.

        Returns:
            Memory for at least one of them; none if nothing more is taken.
        """
        if self._leg is None or self._session.is_over:
            return memoryview(b"")
        if self._content.frames + self._frames >= self._last:
            return memoryview(b"")
        frames = self._leg.frames
        if not frames.missing:
            return frames.get_buffer()
        return self._incoming.get_buffer(frames.offset, frames.missing, size)

    def buffer_updated(self, count: int) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more.

        Raises:
            RemoteProtocolError: they are not what the other side may say now.
        """
        assert self._leg is not None
        self._leg.last_heard_at = self._now
        frames = self._leg.frames
        if frames.missing:
            self._incoming.arrived(frames.offset, count)
            frames.pass_over(count)
        else:
            frame = frames.buffer_updated_untrusted(count)
            if frame is not None:
                self._frames += 1
                _handle_untrusted(self._session, frame, self._leg, self._now)


def sink_of(session: Session, now: float) -> SessionSink:
    """Where the bytes go that come over the path now."""
    return SessionSink(session, session.leg, now)


def former_sink_of(session: Session, now: float) -> SessionSink:
    """Where the bytes go that come over the path that is being left.

    They are good until the other side leaves it, too, and may be all that it had to say before its
    end.
    """
    return SessionSink(session, session.former, now)


def _handle_untrusted(session: Session, frame: Frame, leg: Leg, now: float) -> None:
    state = SessionState.ATTACHED if leg.is_greeted else SessionState.GREETING
    handle = HANDLERS.get((state, frame.kind))
    if handle is None:
        raise RemoteProtocolError(f"got a {frame.kind.name} frame out of place ({state.value})")
    handle(session, frame, leg, now)


# Frames: one function for each kind.


def _on_hello(session: Session, frame: Frame, leg: Leg, now: float) -> None:
    session.greeted(PathHello.decode_untrusted(frame.number, frame.payload), leg, now)


def _on_data(session: Session, frame: Frame, _leg: Leg, _now: float) -> None:
    session.incoming.announced(frame.number)


def _on_close(session: Session, frame: Frame, _leg: Leg, _now: float) -> None:
    session.closed(frame.number)


def _on_ack(session: Session, frame: Frame, _leg: Leg, now: float) -> None:
    session.acknowledged(frame.number, now)


def _on_ping(session: Session, _frame: Frame, _leg: Leg, _now: float) -> None:
    session.incoming.is_pinged = True


def _on_abort(session: Session, frame: Frame, _leg: Leg, _now: float) -> None:
    session.fail(error_of_untrusted(frame))


HANDLERS: Final[dict[tuple[SessionState, Kind], _Handler]] = {
    (SessionState.GREETING, Kind.HELLO): _on_hello,
    (SessionState.GREETING, Kind.ABORT): _on_abort,
    (SessionState.ATTACHED, Kind.DATA): _on_data,
    (SessionState.ATTACHED, Kind.ACK): _on_ack,
    (SessionState.ATTACHED, Kind.PING): _on_ping,
    (SessionState.ATTACHED, Kind.CLOSE): _on_close,
    (SessionState.ATTACHED, Kind.ABORT): _on_abort,
}
