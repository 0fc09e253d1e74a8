"""Where the bytes that come over a path go: decrypted straight to where they are kept."""

from __future__ import annotations

from typing import Protocol

from .frames import Frame
from .incoming import Incoming
from .leg import Leg


class Sink(Protocol):
    """What takes the bytes that are received, each straight to where it belongs."""

    def get_buffer(self, size: int, /) -> memoryview:
        """Where to put the next bytes, of which there are about so many; empty to stop."""
        ...

    def buffer_updated(self, count: int, /) -> None:
        """So many bytes have been put there, and nobody holds the buffer any more."""
        ...


class FrameHandler(Protocol):
    """What a session does with frames."""

    is_over: bool
    """Whether nothing more is going to happen."""

    def handle_untrusted(self, frame: Frame, leg: Leg, now: float) -> None:
        """A frame came over one of the session's paths."""
        ...


class SessionSink:
    """Takes what comes over one of a session's paths.

    Args:
        session: the session.
        incoming: what it receives.
        leg: the session's share of the path; None if that is none of the session's any more.
        now: the time in seconds.
    """

    __slots__ = ("_incoming", "_leg", "_now", "_session")

    def __init__(
        self, session: FrameHandler, incoming: Incoming, leg: Leg | None, now: float
    ) -> None:
        self._session = session
        self._incoming = incoming
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
        frames = self._leg.frames
        if not frames.missing:
            return frames.get_buffer()
        return self._incoming.get_buffer(frames.offset, frames.missing, size)

    def buffer_updated(self, count: int) -> None:
        """So many bytes have been put there, and nobody holds the buffer any more.

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
                self._session.handle_untrusted(frame, self._leg, self._now)
