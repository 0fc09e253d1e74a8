"""One stream over a succession of paths: what carries it, and what each frame does. Sans-IO.

A session is carried by one path at a time. Whoever sends keeps what is not acknowledged; a new
path begins with a hello of both sides that says how much each has received, and whatever is
missing is sent again. A path that breaks and one that is left for a better one are the same.

Three rules: nothing is sent beyond the other side's limit, so that whoever receives can always
read its path; frames come in order, so that a gap is a violation; and whatever came before is
ignored, not believed to be new.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from .._errors import (
    NotAdmittedError,
    P2PError,
    RemoteProtocolError,
    SessionLostError,
    StreamAbortedError,
)
from .byte_queue import Piece
from .frames import AbortCode, Frame, Hello, Kind, abort, header
from .incoming import Incoming
from .leg import Leg
from .outgoing import Outgoing
from .sinks import SessionSink
from .states import Event as Event, Role as Role, State as State

_ABORTED_AS: dict[int, type[P2PError]] = {
    AbortCode.NOT_ADMITTED: NotAdmittedError,
    AbortCode.UNKNOWN_SESSION: SessionLostError,
}

MIN_WINDOW = 512 * 1024  # bytes: what each side may send before it has heard of the other

DEFAULT_WINDOW = 8 * 1024 * 1024  # bytes that a stream holds
FIRST_WINDOW = MIN_WINDOW // 2  # may be sent before the other side has said its limit
# Of the window, for either direction at least; whichever needs it gets the rest.
RESERVED_SHARE = 1 / 4


class Session:
    """One side of a session.

    Args:
        role: which side it is.
        identifier: the session's, chosen by the opener.
        window: how many bytes to hold at most, of both directions.
        now: the time in seconds, like all ``now`` below.

    Attributes:
        state: what carries it now.
        is_over: whether nothing more is going to happen.
        error: why it is broken.
        is_blocked: set it while somebody waits for room.
        waiting_since: since when the last path is lost; infinite if there is one, or was none.
    """

    def __init__(self, role: Role, identifier: bytes, window: int, now: float) -> None:
        self.role = role
        self.identifier = identifier
        self.state: State = State.DETACHED
        self.is_over: bool = False
        self.error: P2PError | None = None
        self.is_blocked = False
        self.waiting_since: float = math.inf
        self._is_closed = False
        self._progress_at = now  # when the other side acknowledged something new, or a path began
        self._window = window
        self._incoming = Incoming(FIRST_WINDOW)
        self._outgoing = Outgoing(self._outgoing_capacity, FIRST_WINDOW)
        self._leg = Leg(0, b"", now)
        self._former: Leg | None = None  # that is being left, while GREETING on the next
        self._heard = self._leg  # that the frame at hand came over
        self._is_confirmed = role is Role.ACCEPTOR

    # What the application does.

    @property
    def peer_is_closed(self) -> bool:
        """Whether the other side has closed the stream, and no path is of any use any more."""
        return self._incoming.is_closed

    @property
    def has_input(self) -> bool:
        """Whether :meth:`read` would return something."""
        return self._incoming.has_input

    @property
    def is_confirmed(self) -> bool:
        """Whether the other side knows the session: it has been admitted."""
        return self._is_confirmed

    @property
    def transferred(self) -> int:
        """How many bytes have arrived so far, here or, as acknowledged, at the other side."""
        return self._incoming.received + self._outgoing.acked

    @property
    def room(self) -> int:
        """How many bytes :meth:`write` would take now."""
        return self._outgoing.room

    def write(self, piece: Piece, now: float) -> None:
        """Take bytes to send; they must not be more than :attr:`room`."""
        self._outgoing.write(piece, now)

    def write_eof(self, now: float) -> None:
        """There is nothing more to send."""
        self._outgoing.end(Kind.EOF, now)

    def close(self, now: float) -> None:
        """There is nothing more to send, and nothing more will be read."""
        if self.peer_is_closed:
            is_all_said = self._leg.has_told or self.state is State.DETACHED
        else:
            is_all_said = self._incoming.has_ended and self._outgoing.ending_is_acked
        if not self._is_closed:
            self._is_closed = True
            self._progress_at = now
        self._outgoing.end(Kind.CLOSE, now)
        self._incoming.close()
        if is_all_said:
            self._happen(Event.COMPLETED)

    def read(self, max_bytes: int) -> Piece | None:
        """Some of the bytes that came; empty at their end, None if there are none yet."""
        return self._incoming.read(max_bytes)

    # What the path does.

    def open_path(self, now: float) -> None:
        """A path leads to the acceptor; what carried the session before is being left for it."""
        if self.state is not State.DETACHED and self._former is None:
            self._former = self._leg
        self._begin_path(self._leg.number + 1, now)
        self._happen(Event.PATH_OPENED)

    def accept_path(self, hello: Hello, now: float) -> bool:
        """A path came with the opener's hello; False if there is a newer one already.

        Raises:
            RemoteProtocolError: the hello claims what cannot be.
        """
        if hello.path <= self._leg.number or self.is_over:
            return False
        self._check(hello)
        self._begin_path(hello.path, now)
        self._leg.is_greeted = True
        self._happen(Event.PATH_ACCEPTED)
        self._attached(now)
        self._outgoing.send_again_from(hello.received)
        return True

    def lose_path(self, now: float) -> None:
        """The path is gone."""
        if not self.is_over:
            self._happen(Event.PATH_LOST)
            self.waiting_since = min(self.waiting_since, now)
            self._complete_without_path()

    def fail(self, error: P2PError) -> None:
        """Give up."""
        if not self.is_over:
            self.error = error
            self._outgoing.forget()
            self._happen(Event.FAILED)

    def sink(self, now: float) -> SessionSink:
        """Where the bytes go that come over the path now."""
        return SessionSink(self, self._incoming, self._leg, now)

    def former_sink(self, now: float) -> SessionSink:
        """Where the bytes go that come over the path that is being left.

        They are good until the other side leaves it, too, and may be all that it had to say
        before its end.
        """
        return SessionSink(self, self._incoming, self._former, now)

    def handle_untrusted(self, frame: Frame, leg: Leg, now: float) -> None:
        """A frame came over one of the session's paths.

        Raises:
            RemoteProtocolError: it is not what the other side may say there now.
        """
        self._heard = leg
        state = State.ATTACHED if leg.is_greeted else State.GREETING
        handle = self.HANDLERS.get((state, frame.kind))
        if handle is None:
            raise RemoteProtocolError(f"got a {frame.kind.name} frame out of place ({state.value})")
        handle(self, frame, now)

    def forget_former(self) -> None:
        """Nothing more comes over the path that was being left."""
        self._former = None

    def pieces_to_send(self, now: float) -> list[Piece]:
        """What to send over the path next, all of it at once; nothing if empty.

        Call it when what it returned before has been sent, and only then.
        """
        if self.is_over:
            return []
        leg, incoming, outgoing = self._leg, self._incoming, self._outgoing
        if incoming.is_closed and incoming.is_acknowledged:
            leg.has_told = True
            if outgoing.ending is Kind.CLOSE:
                self._happen(Event.COMPLETED)
                return []
        pieces: list[Piece] = [leg.take_greeting()] if leg.greeting else []
        if self.state is State.ATTACHED:
            incoming.add_news(pieces, now)
        if self._is_flowing:
            outgoing.add_data(pieces)
        if self.state is State.ATTACHED and self.is_blocked:
            outgoing.add_blocked(pieces)
        if not pieces and now >= self.heartbeat_at():
            incoming.add_acknowledgement(pieces)
        if pieces:
            leg.last_sent_at = now
        return pieces

    @property
    def has_more_to_send(self) -> bool:
        """Whether :meth:`pieces_to_send` has to be called again when all of it has been sent."""
        return self._outgoing.has_unsent or self._incoming.is_closed

    def farewell(self) -> bytes:
        """What to send over a path that is going to be closed without any more waiting."""
        return self._leg.take_greeting() + self.former_farewell()

    def former_farewell(self) -> bytes:
        """The same for the path that is being left, on which this side has greeted already."""
        if self.error is not None:
            words = abort(AbortCode.GIVEN_UP, f"the other side gave up: {self.error}")
        elif self.peer_is_closed:
            words = header(Kind.ACK, self._incoming.to_acknowledge)  # it waits for nothing else
        elif self._outgoing.is_all_sent(is_flowing=self._is_flowing):
            words = header(Kind.CLOSE, self._outgoing.sent)
        else:
            words = abort(AbortCode.GIVEN_UP, "the other side did not wait until all was sent")
        return words

    def answer_late(self, hello: Hello) -> bytes:
        """What to say over a path that came when it is finished, and then to close that path.

        The other side may have missed the last words, and learns that all was said.
        """
        self._leg.greeting = self._hello(hello.path)
        return self.farewell()

    @property
    def stalled_since(self) -> float:
        """Since when a close makes no progress over the path; infinite if nothing is closed."""
        is_stalled = self._is_closed and self.state is State.ATTACHED
        return self._progress_at if is_stalled else math.inf

    def heartbeat_at(self) -> float:
        """When to call :meth:`pieces_to_send` even if nothing happens."""
        if self.state is not State.ATTACHED:
            return math.inf
        is_busy = self._outgoing.unacked_since != math.inf or not self._incoming.is_acknowledged
        return self._leg.heartbeat_at(is_busy=is_busy)

    def dead_at(self) -> float:
        """When to give up the path if nothing is heard until then."""
        if self.state is State.GREETING:  # it owes its hello
            return self._leg.dead_at(self._leg.last_heard_at)
        return self._leg.dead_at(self._outgoing.unacked_since)

    # Inside.

    @property
    def _outgoing_capacity(self) -> int:
        reserved = max(self._incoming.window, int(self._window * RESERVED_SHARE))
        return self._window - reserved

    @property
    def _is_flowing(self) -> bool:
        """Whether bytes of the stream may be sent over the path."""
        # On the first path nothing can have been received yet, so nobody has to wait.
        is_first = self.state is State.GREETING and self._leg.number == 1
        return is_first or self.state is State.ATTACHED

    def _happen(self, event: Event) -> None:
        self.state = self.TRANSITIONS[self.state, event]
        self.is_over = self.state in (State.FINISHED, State.BROKEN)

    def _attached(self, now: float) -> None:
        self.waiting_since = math.inf
        self._progress_at = now

    def _complete_without_path(self) -> None:
        """If both sides have closed, there is not going to be another path."""
        is_done = self.peer_is_closed and self._outgoing.ending is Kind.CLOSE
        if is_done and self.state is State.DETACHED:
            self._happen(Event.COMPLETED)

    def _hello(self, path: int) -> bytes:
        is_new = not self._is_confirmed
        return Hello(self._incoming.received, self.identifier, path, is_new).encode()

    def _begin_path(self, number: int, now: float) -> None:
        self._leg = Leg(number, self._hello(number), now)
        self._incoming.begin_path()
        self._outgoing.begin_path(now)

    def _check(self, hello: Hello) -> None:
        if hello.session != self.identifier or hello.received > self._outgoing.furthest:
            raise RemoteProtocolError("got a hello that claims what cannot be")

    # Frames: one method for each kind.

    def _on_hello(self, frame: Frame, now: float) -> None:
        hello = Hello.decode_untrusted(frame.number, frame.payload)
        if hello.path != self._heard.number:
            raise RemoteProtocolError("got the hello of another path")
        self._check(hello)
        self._is_confirmed = True
        self._heard.is_greeted = True
        if self._heard is self._leg:
            self._happen(Event.GREETED)
            self._attached(now)
            if hello.path > 1:
                self._outgoing.send_again_from(hello.received)

    def _on_data(self, frame: Frame, _now: float) -> None:
        self._incoming.announced(frame.number, frame.length)

    def _on_eof(self, frame: Frame, _now: float) -> None:
        self._incoming.ended(frame.number)

    def _on_close(self, frame: Frame, _now: float) -> None:
        self._incoming.closed(frame.number)
        self._outgoing.unwanted()
        self._complete_without_path()  # it may have come over the former path, the last one

    def _on_ack(self, frame: Frame, now: float) -> None:
        before = self._outgoing.acked
        is_end = self._outgoing.acknowledged(frame.number, now)
        if is_end or self._outgoing.acked > before:
            self._progress_at = now
        if is_end and self._outgoing.ending is Kind.CLOSE:
            self._happen(Event.COMPLETED)

    def _on_limit(self, frame: Frame, _now: float) -> None:
        self._outgoing.limited(frame.number)

    def _on_blocked(self, frame: Frame, _now: float) -> None:
        reserved = max(self._outgoing.held, int(self._window * RESERVED_SHARE))
        self._incoming.blocked(frame.number, self._window - reserved)
        self._outgoing.capacity = self._outgoing_capacity

    def _on_abort(self, frame: Frame, _now: float) -> None:
        text = frame.payload.decode(errors="replace")
        reason = "".join(character if character.isprintable() else "?" for character in text)
        self.fail(_ABORTED_AS.get(frame.number, StreamAbortedError)(reason))

    TRANSITIONS: ClassVar[dict[tuple[State, Event], State]] = {
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

    HANDLERS: ClassVar[dict[tuple[State, Kind], Callable[[Session, Frame, float], None]]] = {
        (State.GREETING, Kind.HELLO): _on_hello,
        (State.GREETING, Kind.ABORT): _on_abort,
        (State.ATTACHED, Kind.DATA): _on_data,
        (State.ATTACHED, Kind.EOF): _on_eof,
        (State.ATTACHED, Kind.ACK): _on_ack,
        (State.ATTACHED, Kind.LIMIT): _on_limit,
        (State.ATTACHED, Kind.BLOCKED): _on_blocked,
        (State.ATTACHED, Kind.CLOSE): _on_close,
        (State.ATTACHED, Kind.ABORT): _on_abort,
    }
