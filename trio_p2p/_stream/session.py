"""One connection over a succession of paths: what carries it, and what is said over it. Sans-IO.

A session is carried by one path at a time. The sender keeps what is not acknowledged; a new path
begins with a hello of both sides that says how much each has received, and what is missing is sent
again. A path that breaks and one that is left for a better one are the same.

Frames come in order, so that a gap is a violation; what came before is ignored, not believed to be
new. Nothing here limits what the other side sends: the content does.
"""

from __future__ import annotations

import math

from .._errors import P2PError, RemoteProtocolError
from .byte_queue import Piece
from .content import Content
from .farewells import farewell_of
from .frames import MAX_PAYLOAD_BYTES, SLOW_PAYLOAD_BYTES, PathHello
from .incoming import Incoming
from .leg import Leg
from .outgoing import Outgoing
from .states import TRANSITIONS, SessionEvent, SessionRole, SessionState


class Session:
    """One side of a session.

    Args:
        role: which side it is.
        identifier: the session's, chosen by the opener.
        instance: what tells this program from others of the same identity.
        window: how many bytes to hold at most, sent and not acknowledged.
        content: the bytes that the session carries.
        now: the time in seconds, like all ``now`` below.

    Attributes:
        state: what carries it now.
        is_over: whether nothing more is going to happen.
        error: why it is broken.
        is_only: whether this program has opened no other session with the same peer.
        is_slow: whether the path is; then pieces are small.
        is_confirmed: whether the other side knows the session: it has been admitted.
        peer_instance: the other side's instance; empty until its hello has come.
        waiting_since: since when the last path is lost; infinite if there is one, or was none.
        content, incoming, outgoing: the argument, and the bytes of either direction.
        leg: its share of the path that carries it, or carried it last.
        former: the same for one that is being left, until the next one is greeted on.
    """

    def __init__(
        self,
        role: SessionRole,
        identifier: bytes,
        instance: bytes,
        *,
        window: int,
        content: Content,
        now: float,
    ) -> None:
        self.role = role
        self.identifier = identifier
        self.is_only: bool = False
        self.is_slow: bool = False
        self.peer_instance: bytes = b""
        self.state: SessionState = SessionState.DETACHED
        self.is_over: bool = False
        self.error: P2PError | None = None
        self.waiting_since: float = math.inf
        self._is_closed = False
        self._progress_at = now  # when the other side acknowledged something new, or a path began
        self.incoming: Incoming = Incoming(content)
        self.outgoing: Outgoing = Outgoing(window)
        self.leg: Leg = Leg(0, b"", now)
        self.former: Leg | None = None
        self.is_confirmed: bool = role is SessionRole.ACCEPTOR
        self._instance = instance
        self._window = window
        self.content: Content = content

    # What the application does.

    @property
    def peer_is_closed(self) -> bool:
        """Whether the other side has closed the session, and no path is of any use any more."""
        return self.incoming.is_closed

    @property
    def transferred(self) -> int:
        """How many bytes have arrived so far, here or, as acknowledged, at the other side."""
        return self.incoming.received + self.outgoing.acked

    def close(self, now: float) -> None:
        """Close the session: send no more than was pulled, and read nothing more."""
        if not self._is_closed:
            self._is_closed = True
            self._progress_at = now
        self.outgoing.end(now)
        self.incoming.close()
        has_told = self.leg.has_told or self.state is SessionState.DETACHED
        if self.peer_is_closed and has_told:
            self._happen(SessionEvent.COMPLETED)

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

    def pieces_to_send(self, now: float) -> list[Piece]:
        """What to send over the path next, when what was returned before has been sent."""
        if self.is_over:
            return []
        leg, incoming, outgoing = self.leg, self.incoming, self.outgoing
        if incoming.is_closed and incoming.is_acknowledged:
            leg.has_told = True
            if outgoing.is_ended:
                self._happen(SessionEvent.COMPLETED)
                return []
        pieces: list[Piece] = [leg.take_greeting()] if leg.greeting else []
        if self.state is SessionState.ATTACHED:
            incoming.add_news(pieces, now)
        if self._is_flowing:
            self._add_data(pieces, now)
        if self.state is SessionState.ATTACHED:
            outgoing.add_ping(pieces, now, is_blocked=self._is_blocked)
        if not pieces and now >= self.heartbeat_at():
            incoming.add_acknowledgement(pieces, now)
        if pieces:
            leg.last_sent_at = now
        return pieces

    def _add_data(self, pieces: list[Piece], now: float) -> None:
        """Say what comes next; the content is asked at the last moment, when nothing was lost."""
        outgoing = self.outgoing
        if outgoing.has_lost:
            outgoing.add_again(pieces)
        elif not outgoing.is_ended:
            most = SLOW_PAYLOAD_BYTES if self.is_slow else MAX_PAYLOAD_BYTES
            outgoing.add_new(pieces, self.content.pull(min(outgoing.room, most)), now)
        outgoing.add_end(pieces)

    @property
    def _is_blocked(self) -> bool:
        """Whether more is to be sent than there is room for, or soon will be."""
        return self.content.is_ready and self.outgoing.room < MAX_PAYLOAD_BYTES

    def has_news(self, now: float) -> bool:
        """Whether there is something to say that should not wait for the next heartbeat."""
        outgoing = self.outgoing
        is_ready = self.content.is_ready or outgoing.has_lost or outgoing.has_question
        return is_ready or bool(self.leg.greeting) or self.incoming.has_news(now)

    @property
    def has_more_to_send(self) -> bool:
        """Whether :meth:`pieces_to_send` has to be called again when all of it has been sent."""
        return self.outgoing.has_lost or self.content.is_ready or self.incoming.is_closed

    def farewell(self) -> bytes:
        """What to send over a path that is going to be closed without any more waiting."""
        return self.leg.take_greeting() + self.former_farewell()

    def former_farewell(self) -> bytes:
        """The same for the path that is being left, on which this side has greeted already."""
        return farewell_of(
            self.incoming, self.outgoing, is_flowing=self._is_flowing, error=self.error
        )

    def answer_late(self, hello: PathHello) -> bytes:
        """What to say over a path that came when all was said, and then to close that path."""
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
        self.is_confirmed = True
        leg.is_greeted = True
        self.outgoing.round_trip = now - leg.began_at
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
        """The other side has received so much, the end included."""
        before = self.outgoing.acked
        is_end = self.outgoing.acknowledged(received, now)
        if is_end or self.outgoing.acked > before:
            self._progress_at = now
        if is_end:
            self._happen(SessionEvent.COMPLETED)

    # Inside.

    @property
    def _is_flowing(self) -> bool:
        """Whether bytes of the stream may be sent over the path."""
        # On the first path nothing can have been received yet, so there is nothing to wait for.
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
        if self.state is SessionState.DETACHED and self.peer_is_closed and self.outgoing.is_ended:
            self._happen(SessionEvent.COMPLETED)

    def _hello(self, path: int) -> bytes:
        return PathHello(
            self.incoming.received,
            self.identifier,
            path,
            self._window,
            self._instance,
            is_new=not self.is_confirmed,
            is_only=self.is_only,
        ).encode()

    def _begin_path(self, number: int, now: float) -> None:
        self.is_slow = False
        self.leg = Leg(number, self._hello(number), now)
        self.incoming.begin_path()
        self.outgoing.begin_path(now)

    def _check(self, hello: PathHello) -> None:
        if hello.session != self.identifier or hello.received > self.outgoing.furthest:
            raise RemoteProtocolError("got a hello that claims what cannot be")
        self.peer_instance = hello.instance
        self.incoming.greeted(hello.window)
