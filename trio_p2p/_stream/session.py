"""One stream over a succession of paths: what carries it, and what is said over it. Sans-IO.

A session is carried by one path at a time. Whoever sends keeps what is not acknowledged; a new
path begins with a hello of both sides that says how much each has received, and whatever is
missing is sent again. A path that breaks and one that is left for a better one are the same.

Three rules: nothing is sent beyond the other side's limit, so that whoever receives can always
read its path; frames come in order, so that a gap is a violation; and whatever came before is
ignored, not believed to be new.
"""

from __future__ import annotations

import math

from .._errors import P2PError, RemoteProtocolError
from .byte_queue import Piece
from .farewells import farewell_of
from .frames import Kind, PathHello
from .incoming import Incoming
from .leg import Leg
from .outgoing import Outgoing
from .states import TRANSITIONS, SessionEvent, SessionRole, SessionState
from .window import FIRST_WINDOW, Window


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
        incoming, outgoing: the bytes of either direction.
        leg: its share of the path that carries it, or carried it last.
        former: the same for a path that is being left, while the next one is not greeted on.
    """

    def __init__(self, role: SessionRole, identifier: bytes, window: int, now: float) -> None:
        self.role = role
        self.identifier = identifier
        self.state: SessionState = SessionState.DETACHED
        self.is_over: bool = False
        self.error: P2PError | None = None
        self.is_blocked = False
        self.waiting_since: float = math.inf
        self._is_closed = False
        self._progress_at = now  # when the other side acknowledged something new, or a path began
        self._window = Window(window)
        self.incoming: Incoming = Incoming(FIRST_WINDOW)
        self.outgoing: Outgoing = Outgoing(self._window.beside(FIRST_WINDOW), FIRST_WINDOW)
        self.leg: Leg = Leg(0, b"", now)
        self.former: Leg | None = None
        self._is_confirmed = role is SessionRole.ACCEPTOR

    # What the application does.

    @property
    def peer_is_closed(self) -> bool:
        """Whether the other side has closed the stream, and no path is of any use any more."""
        return self.incoming.is_closed

    @property
    def has_input(self) -> bool:
        """Whether :meth:`read` would return something."""
        return self.incoming.has_input

    @property
    def is_confirmed(self) -> bool:
        """Whether the other side knows the session: it has been admitted."""
        return self._is_confirmed

    @property
    def transferred(self) -> int:
        """How many bytes have arrived so far, here or, as acknowledged, at the other side."""
        return self.incoming.received + self.outgoing.acked

    @property
    def room(self) -> int:
        """How many bytes :meth:`write` would take now."""
        return self.outgoing.room

    def write(self, piece: Piece, now: float) -> None:
        """Take bytes to send; they must not be more than :attr:`room`."""
        self.outgoing.write(piece, now)

    def write_eof(self, now: float) -> None:
        """There is nothing more to send."""
        self.outgoing.end(Kind.EOF, now)

    def close(self, now: float) -> None:
        """There is nothing more to send, and nothing more will be read."""
        if self.peer_is_closed:
            is_all_said = self.leg.has_told or self.state is SessionState.DETACHED
        else:
            is_all_said = self.incoming.has_ended and self.outgoing.ending_is_acked
        if not self._is_closed:
            self._is_closed = True
            self._progress_at = now
        self.outgoing.end(Kind.CLOSE, now)
        self.incoming.close()
        if is_all_said:
            self._happen(SessionEvent.COMPLETED)

    def read(self, max_bytes: int) -> Piece | None:
        """Some of the bytes that came; empty at their end, None if there are none yet."""
        return self.incoming.read(max_bytes)

    # What the path does.

    def open_path(self, now: float) -> None:
        """A path leads to the acceptor; what carried the session before is being left for it."""
        if self.state is not SessionState.DETACHED and self.former is None:
            self.former = self.leg
        self._begin_path(self.leg.number + 1, now)
        self._happen(SessionEvent.PATH_OPENED)

    def accept_path(self, hello: PathHello, now: float) -> bool:
        """A path came with the opener's hello; False if there is a newer one already.

        Raises:
            RemoteProtocolError: the hello claims what cannot be.
        """
        if hello.path <= self.leg.number or self.is_over:
            return False
        self._check(hello)
        self._begin_path(hello.path, now)
        self.leg.is_greeted = True
        self._happen(SessionEvent.PATH_ACCEPTED)
        self._attached(now)
        self.outgoing.send_again_from(hello.received)
        return True

    def lose_path(self, now: float) -> None:
        """The path is gone."""
        if not self.is_over:
            self._happen(SessionEvent.PATH_LOST)
            self.waiting_since = min(self.waiting_since, now)
            self._complete_without_path()

    def fail(self, error: P2PError) -> None:
        """Give up."""
        if not self.is_over:
            self.error = error
            self.outgoing.forget()
            self._happen(SessionEvent.FAILED)

    def forget_former(self) -> None:
        """Nothing more comes over the path that was being left."""
        self.former = None

    def pieces_to_send(self, now: float) -> list[Piece]:
        """What to send over the path next, all of it at once; nothing if empty.

        Call it when what it returned before has been sent, and only then.
        """
        if self.is_over:
            return []
        leg, incoming, outgoing = self.leg, self.incoming, self.outgoing
        if incoming.is_closed and incoming.is_acknowledged:
            leg.has_told = True
            if outgoing.ending is Kind.CLOSE:
                self._happen(SessionEvent.COMPLETED)
                return []
        pieces: list[Piece] = [leg.take_greeting()] if leg.greeting else []
        if self.state is SessionState.ATTACHED:
            incoming.add_news(pieces, now)
        if self._is_flowing:
            outgoing.add_data(pieces)
        if self.state is SessionState.ATTACHED and self.is_blocked:
            outgoing.add_blocked(pieces)
        if not pieces and now >= self.heartbeat_at():
            incoming.add_acknowledgement(pieces)
        if pieces:
            leg.last_sent_at = now
        return pieces

    @property
    def has_more_to_send(self) -> bool:
        """Whether :meth:`pieces_to_send` has to be called again when all of it has been sent."""
        return self.outgoing.has_unsent or self.incoming.is_closed

    def farewell(self) -> bytes:
        """What to send over a path that is going to be closed without any more waiting."""
        return self.leg.take_greeting() + self.former_farewell()

    def former_farewell(self) -> bytes:
        """The same for the path that is being left, on which this side has greeted already."""
        return farewell_of(
            self.incoming, self.outgoing, is_flowing=self._is_flowing, error=self.error
        )

    def answer_late(self, hello: PathHello) -> bytes:
        """What to say over a path that came when it is finished, and then to close that path.

        The other side may have missed the last words, and learns that all was said.
        """
        self.leg.greeting = self._hello(hello.path)
        return self.farewell()

    @property
    def stalled_since(self) -> float:
        """Since when a close makes no progress over the path; infinite if nothing is closed."""
        is_stalled = self._is_closed and self.state is SessionState.ATTACHED
        return self._progress_at if is_stalled else math.inf

    def heartbeat_at(self) -> float:
        """When to call :meth:`pieces_to_send` even if nothing happens."""
        if self.state is not SessionState.ATTACHED:
            return math.inf
        is_busy = self.outgoing.unacked_since != math.inf or not self.incoming.is_acknowledged
        return self.leg.heartbeat_at(is_busy=is_busy)

    def dead_at(self) -> float:
        """When to give up the path if nothing is heard until then."""
        if self.state is SessionState.GREETING:  # it owes its hello
            return self.leg.dead_at(self.leg.last_heard_at)
        return self.leg.dead_at(self.outgoing.unacked_since)

    # What the other side says; all of these raise RemoteProtocolError if it may not say that now.

    def greeted(self, hello: PathHello, leg: Leg, now: float) -> None:
        """The acceptor's hello came over a path."""
        if hello.path != leg.number:
            raise RemoteProtocolError("got the hello of another path")
        self._check(hello)
        self._is_confirmed = True
        leg.is_greeted = True
        if leg is self.leg:
            self._happen(SessionEvent.GREETED)
            self._attached(now)
            if hello.path > 1:
                self.outgoing.send_again_from(hello.received)

    def closed(self, offset: int) -> None:
        """The other side has nothing more to send, and reads nothing more."""
        self.incoming.closed(offset)
        self.outgoing.unwanted()
        self._complete_without_path()  # it may have come over the former path, the last one

    def acknowledged(self, received: int, now: float) -> None:
        """The other side has received so much, endings included."""
        before = self.outgoing.acked
        is_end = self.outgoing.acknowledged(received, now)
        if is_end or self.outgoing.acked > before:
            self._progress_at = now
        if is_end and self.outgoing.ending is Kind.CLOSE:
            self._happen(SessionEvent.COMPLETED)

    def blocked(self, limit: int) -> None:
        """The other side waits for a higher limit than this one, unless it is 0."""
        self.incoming.blocked(limit, self._window.beside(self.outgoing.held))
        self.outgoing.capacity = self._window.beside(self.incoming.window)

    # Inside.

    @property
    def _is_flowing(self) -> bool:
        """Whether bytes of the stream may be sent over the path."""
        # On the first path nothing can have been received yet, so nobody has to wait.
        is_first = self.state is SessionState.GREETING and self.leg.number == 1
        return is_first or self.state is SessionState.ATTACHED

    def _happen(self, event: SessionEvent) -> None:
        self.state = TRANSITIONS[self.state, event]
        self.is_over = self.state in (SessionState.FINISHED, SessionState.BROKEN)

    def _attached(self, now: float) -> None:
        self.waiting_since = math.inf
        self._progress_at = now

    def _complete_without_path(self) -> None:
        """If both sides have closed, there is not going to be another path."""
        is_done = self.peer_is_closed and self.outgoing.ending is Kind.CLOSE
        if is_done and self.state is SessionState.DETACHED:
            self._happen(SessionEvent.COMPLETED)

    def _hello(self, path: int) -> bytes:
        is_new = not self._is_confirmed
        return PathHello(self.incoming.received, self.identifier, path, is_new).encode()

    def _begin_path(self, number: int, now: float) -> None:
        self.leg = Leg(number, self._hello(number), now)
        self.incoming.begin_path()
        self.outgoing.begin_path(now)

    def _check(self, hello: PathHello) -> None:
        if hello.session != self.identifier or hello.received > self.outgoing.furthest:
            raise RemoteProtocolError("got a hello that claims what cannot be")
