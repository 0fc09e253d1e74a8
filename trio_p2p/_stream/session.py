"""One stream over a succession of paths: offsets, acknowledgements, limits, endings. Sans-IO.

A session is carried by one path at a time. Whoever sends keeps what is not acknowledged; a new
path begins with a hello of both sides that says how much each has received, and whatever is
missing is sent again. A path that breaks and one that is left for a better one are the same.

Three rules: nothing is sent beyond the other side's limit, so that whoever receives can always
read its path; frames come in order, so that a gap is a violation; and whatever came before is
ignored, not believed to be new.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import ClassVar

from .._errors import NotAdmittedError, P2PError, RemoteProtocolError, StreamAbortedError
from .._parameters import MIN_WINDOW
from .byte_queue import ByteQueue, Piece
from .frames import (
    MAX_PAYLOAD_BYTES,
    AbortCode,
    Frame,
    FrameParser,
    Hello,
    Kind,
    abort,
    header,
)

DEFAULT_WINDOW = 8 * 1024 * 1024  # bytes that a stream holds, half of them for each direction
FIRST_WINDOW = MIN_WINDOW // 2  # may be sent before the other side has said its limit
# Of its window, what has been received or read until the other side is told. To tell more often
# would cost both more, for each time is a packet.
TOLD_SHARE = 1 / 2

# Seconds. Whoever has nothing to say says so: sooner while the other side waits for something, as
# 15 s are the limit until it has noticed that a path is dead, and else within the shortest
# lifetimes of a NAT's mapping that are seen in the wild.
BUSY_HEARTBEAT_TIME = 5.0
IDLE_HEARTBEAT_TIME = 20.0
BUSY_SILENCE_TIME = 12.0
IDLE_SILENCE_TIME = 45.0


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


class Session:
    """One side of a session.

    Args:
        role: which side it is.
        identifier: the session's, chosen by the opener.
        window: how many bytes to hold at most, half of them for each direction.
        now: the time in seconds, like all ``now`` below.

    Attributes:
        state: what carries it now.
        error: why it is broken.
        is_blocked: set it while somebody waits for room.
        waiting_since: since when no path carries it; infinite if one does.
        closed_at: when it was closed on this side; infinite if it was not.
    """

    def __init__(self, role: Role, identifier: bytes, window: int, now: float) -> None:
        self.role = role
        self.identifier = identifier
        self.state = State.DETACHED
        self.error: P2PError | None = None
        self.is_blocked = False
        self.waiting_since = now
        self.closed_at = math.inf
        self._path_number = 0
        self._is_confirmed = role is Role.ACCEPTOR
        self._frames = FrameParser()
        self._greeting = b""
        self._last_sent_at = self._last_heard_at = now

        self._capacity = window // 2
        self._unsent = ByteQueue()
        self._unacked = ByteQueue()
        self._acked = 0  # offset in the stream of the first byte in _unacked
        self._limit = FIRST_WINDOW  # offset that the other side takes bytes up to
        self._blocked_at = -1  # the limit that it was told of to be too low
        self._unacked_since = math.inf
        self._ending: Kind | None = None  # EOF or CLOSE
        self._ending_is_sent = False
        self._ending_is_acked = False

        self._window = FIRST_WINDOW
        self._inbox = ByteQueue()
        self._received = 0
        self._acknowledged = 0  # as the other side was told
        self._given = FIRST_WINDOW  # the highest limit that it was told
        self._given_at_growth = 0
        self._gives_again = False
        self._end: int | None = None  # offset at which its bytes end
        self._peer_is_closed = False
        self._has_told = False  # the other side, that we know this

    # What the application does.

    @property
    def is_over(self) -> bool:
        """Whether nothing more is going to happen."""
        return self.state in (State.FINISHED, State.BROKEN)

    @property
    def peer_is_closed(self) -> bool:
        """Whether the other side has closed the stream, and no path is of any use any more."""
        return self._peer_is_closed

    @property
    def has_input(self) -> bool:
        """Whether :meth:`read` would return something."""
        return bool(self._inbox) or self._end is not None

    @property
    def room(self) -> int:
        """How many bytes :meth:`write` would take now."""
        held = len(self._unsent) + len(self._unacked)
        return max(0, min(self._capacity, self._limit - self._acked) - held)

    def write(self, piece: Piece, now: float) -> None:
        """Take bytes to send; they must not be more than :attr:`room`."""
        assert self._ending is None
        assert 0 < len(piece) <= self.room
        self._unsent.append(piece)
        self._unacked_since = min(self._unacked_since, now)

    def write_eof(self, now: float) -> None:
        """There is nothing more to send."""
        self._write_ending(Kind.EOF, now)

    def close(self, now: float) -> None:
        """There is nothing more to send, and nothing more will be read."""
        if self._peer_is_closed:
            is_all_said = self._has_told or self.state is State.DETACHED
        else:
            is_all_said = self._end is not None and self._ending_is_acked
        self.closed_at = min(self.closed_at, now)
        self._write_ending(Kind.CLOSE, now)
        self._inbox.clear()
        if is_all_said:
            self._happen(Event.COMPLETED)

    def _write_ending(self, ending: Kind, now: float) -> None:
        if self._ending is not ending and not self._peer_is_closed:
            self._ending_is_sent = self._ending_is_acked = False
            self._unacked_since = min(self._unacked_since, now)
        self._ending = ending

    def read(self, max_bytes: int) -> bytes | None:
        """Some of the bytes that came; empty at their end, None if there are none yet."""
        if not self._inbox:
            return b"" if self._end is not None else None
        return self._inbox.take(max_bytes)

    # What the path does.

    def open_path(self, now: float) -> None:
        """A path leads to the acceptor; whatever carried the session before is left."""
        self.waiting_since = min(self.waiting_since, now)
        self._begin_path(self._path_number + 1, now)
        self._happen(Event.PATH_OPENED)

    def accept_path(self, hello: Hello, now: float) -> bool:
        """A path came with the opener's hello; False if there is a newer one already.

        Raises:
            RemoteProtocolError: the hello claims what cannot be.
        """
        if hello.path <= self._path_number or self.is_over:
            return False
        self._check(hello)
        self._begin_path(hello.path, now)
        self._happen(Event.PATH_ACCEPTED)
        self.waiting_since = math.inf
        self._send_again_from(hello.received)
        return True

    def lose_path(self, now: float) -> None:
        """The path is gone."""
        if not self.is_over:
            # If both sides have closed, there is not going to be another one.
            is_done = self._peer_is_closed and self._ending is Kind.CLOSE
            self._happen(Event.COMPLETED if is_done else Event.PATH_LOST)
            self.waiting_since = min(self.waiting_since, now)

    def fail(self, error: P2PError) -> None:
        """Give up."""
        if not self.is_over:
            self.error = error
            self._unsent.clear()
            self._unacked.clear()
            self._happen(Event.FAILED)

    def received_untrusted(self, data: bytes | memoryview, now: float) -> None:
        """Bytes came over the path.

        Raises:
            RemoteProtocolError: they are not what the other side may say now.
        """
        if not self.is_over:
            self._last_heard_at = now
            self._receive(data, now)

    def pieces_to_send(self, now: float) -> list[Piece]:
        """What to send over the path next, all of it at once; nothing if empty.

        Call it when what it returned before has been sent, and only then.
        """
        if self.is_over:
            return []
        if self._peer_is_closed and self._acknowledged == self._to_acknowledge:
            self._has_told = True
            if self._ending is Kind.CLOSE:
                self._happen(Event.COMPLETED)
                return []
        pieces: list[Piece] = []
        if self._greeting:
            pieces.append(self._greeting)
            self._greeting = b""
        if self.state is State.ATTACHED:
            self._add_control(pieces, now)
        if self._is_flowing:
            self._add_data(pieces)
        if pieces:
            self._last_sent_at = now
        return pieces

    def farewell(self) -> bytes:
        """What to send over a path that is going to be closed without any more waiting."""
        if self.error is not None:
            words = abort(AbortCode.GIVEN_UP, f"the other side gave up: {self.error}")
        elif self._peer_is_closed:
            words = header(Kind.ACK, self._to_acknowledge)  # it waits for nothing else
        elif (
            self._ending is not Kind.CLOSE
            or self._unsent
            or (self._unacked and not self._is_flowing)
        ):
            words = abort(AbortCode.GIVEN_UP, "the other side did not wait until all was sent")
        else:
            words = header(Kind.CLOSE, self._sent)
        greeting, self._greeting = self._greeting, b""
        return greeting + words

    def answer_late(self, hello: Hello) -> bytes:
        """What to say over a path that came when it is over, and then to close that path.

        The other side may have missed the last words; if all was said, it learns so.
        """
        if self.state is not State.FINISHED:
            return abort(AbortCode.NOT_ADMITTED, "this stream is over")
        answer = Hello(self._received, self.identifier, hello.path, is_new=False)
        self._greeting = answer.encode()
        return self.farewell()

    def heartbeat_at(self) -> float:
        """When to call :meth:`pieces_to_send` even if nothing happens."""
        if self.state is not State.ATTACHED:
            return math.inf
        is_busy = self._unacked_since != math.inf or self._to_acknowledge != self._acknowledged
        return self._last_sent_at + (BUSY_HEARTBEAT_TIME if is_busy else IDLE_HEARTBEAT_TIME)

    def dead_at(self) -> float:
        """When to give up the path if nothing is heard until then."""
        if self.state is State.GREETING:
            return self._last_heard_at + BUSY_SILENCE_TIME
        return min(
            self._last_heard_at + IDLE_SILENCE_TIME,
            max(self._last_heard_at, self._unacked_since) + BUSY_SILENCE_TIME,
        )

    # Inside.

    @property
    def _sent(self) -> int:
        """The offset up to which everything has been sent at least once."""
        return self._acked + len(self._unacked)

    @property
    def _to_acknowledge(self) -> int:
        """What has been received; an end counts as a byte, and a close as two."""
        return self._received + (self._end is not None) + self._peer_is_closed

    @property
    def _is_flowing(self) -> bool:
        """Whether bytes of the stream may be sent over the path."""
        # On the first path nothing can have been received yet, so nobody has to wait.
        is_first = self.state is State.GREETING and self._path_number == 1
        return is_first or self.state is State.ATTACHED

    @property
    def _is_waiting(self) -> bool:
        """Whether the other side has not acknowledged everything."""
        has_bytes = bool(self._unacked or self._unsent)
        return has_bytes or (self._ending is not None and not self._ending_is_acked)

    def _happen(self, event: Event) -> None:
        self.state = self.TRANSITIONS[self.state, event]

    def _receive(self, data: bytes | memoryview, now: float) -> None:
        arrived: list[bytes | memoryview] = []
        try:
            for frame in self._frames.feed_untrusted(data):
                handle = self.HANDLERS.get((self.state, frame.kind))
                if handle is None:
                    raise RemoteProtocolError(
                        f"got a {frame.kind.name} frame out of place ({self.state.value})"
                    )
                arrived.append(handle(self, frame, now) or b"")
                if self.is_over:
                    return
        finally:
            if self._ending is not Kind.CLOSE:
                self._inbox.append(b"".join(arrived))  # one copy, one piece

    def _begin_path(self, number: int, now: float) -> None:
        self._path_number = number
        self._frames = FrameParser()
        self._greeting = Hello(
            self._received, self.identifier, number, is_new=not self._is_confirmed
        ).encode()
        self._last_sent_at = self._last_heard_at = now
        if self._unacked_since != math.inf:
            self._unacked_since = now
        # Nobody knows what was said on the last path and did not arrive.
        self._acknowledged = self._received
        self._gives_again = True
        self._has_told = False
        self._blocked_at = -1

    def _send_again_from(self, received: int) -> None:
        """All up to an offset is received; whatever was sent beyond it has to be sent again."""
        if self._peer_is_closed:
            return  # nothing has
        self._acknowledge(received)
        self._unsent.put_back(self._unacked)
        self._ending_is_sent = False
        if not self._is_waiting:  # so that the other side owes no acknowledgement
            self._unacked_since = math.inf

    def _check(self, hello: Hello) -> None:
        if hello.session != self.identifier or hello.received > self._sent:
            raise RemoteProtocolError("got a hello that claims what cannot be")

    def _acknowledge(self, received: int) -> None:
        if received > self._acked:  # else it is older than one on the last path
            self._unacked.drop(received - self._acked)
            self._acked = received

    def _add_control(self, pieces: list[Piece], now: float) -> None:
        enough = self._window * TOLD_SHARE
        limit = self._received - len(self._inbox) + self._window
        gives = self._gives_again or limit - self._given >= enough
        if gives:
            self._gives_again = False
            self._given = max(self._given, limit)
            pieces.append(header(Kind.LIMIT, self._given))
        behind = self._to_acknowledge - self._acknowledged
        has_news = behind > 0 and (gives or self._end is not None)
        # Mostly together with a limit, but not only if nobody reads.
        if has_news or behind >= 2 * enough or now >= self.heartbeat_at():
            self._acknowledged = self._to_acknowledge
            pieces.append(header(Kind.ACK, self._acknowledged))
        is_limited = self.is_blocked and self._limit - self._acked < self._capacity
        if is_limited and self._blocked_at != self._limit:
            self._blocked_at = self._limit
            pieces.append(header(Kind.BLOCKED, self._limit))

    def _add_data(self, pieces: list[Piece]) -> None:
        if self._unsent:
            offset = self._sent
            piece = self._unsent.take(MAX_PAYLOAD_BYTES)
            self._unacked.append(piece)
            pieces += (header(Kind.DATA, offset, len(piece)), piece)
        if self._ending is not None and not self._ending_is_sent and not self._unsent:
            self._ending_is_sent = True
            pieces.append(header(self._ending, self._sent))

    # Frames: one method for each kind; it gives the bytes of the stream in it, if there are any.

    def _on_hello(self, frame: Frame, _now: float) -> None:
        hello = Hello.decode_untrusted(frame.number, bytes(frame.payload))
        if hello.path != self._path_number:
            raise RemoteProtocolError("got the hello of another path")
        self._check(hello)
        self._is_confirmed = True
        self._happen(Event.GREETED)
        self.waiting_since = math.inf
        if hello.path > 1:
            self._send_again_from(hello.received)

    def _on_data(self, frame: Frame, _now: float) -> bytes | memoryview | None:
        if frame.number > self._received:
            raise RemoteProtocolError(
                f"got bytes from offset {frame.number} on, where {self._received} was expected"
            )
        piece = frame.payload[self._received - frame.number :]
        if not piece:
            return None
        if self._end is not None:
            raise RemoteProtocolError("got bytes behind the end of the stream")
        if self._received + len(piece) > self._given:
            raise RemoteProtocolError("got more bytes than the limit allows")
        self._received += len(piece)
        return piece

    def _on_eof(self, frame: Frame, _now: float) -> None:
        if frame.number != self._received:
            raise RemoteProtocolError("got an end of the stream that is not where its bytes end")
        self._end = frame.number
        self._acknowledged = min(self._acknowledged, self._received)  # even if it was said before

    def _on_close(self, frame: Frame, now: float) -> None:
        self._on_eof(frame, now)
        self._peer_is_closed = True
        # Nobody is going to read it.
        self._acked = self._sent
        self._unacked.clear()
        self._unsent.clear()
        self._ending_is_sent = self._ending_is_acked = True
        self._unacked_since = math.inf

    def _on_ack(self, frame: Frame, now: float) -> None:
        endings = {None: 0, Kind.EOF: 1, Kind.CLOSE: 2}[self._ending]
        if frame.number > self._sent + endings:
            raise RemoteProtocolError("got an acknowledgement of what was not sent")
        is_end = bool(endings) and not self._unsent and frame.number == self._sent + endings
        self._ending_is_acked |= is_end
        self._acknowledge(min(frame.number, self._sent))
        self._unacked_since = now if self._is_waiting else math.inf
        if self._ending is Kind.CLOSE and is_end:
            self._happen(Event.COMPLETED)

    def _on_limit(self, frame: Frame, _now: float) -> None:
        self._limit = max(self._limit, frame.number)

    def _on_blocked(self, frame: Frame, _now: float) -> None:
        # The window is too small for the path, if not the application is too slow. Grow once for
        # each time that the other side has used up what it was given since the last growth.
        if frame.number >= self._given_at_growth and len(self._inbox) < self._window // 4:
            self._given_at_growth = self._given + 1
            self._window = min(2 * self._window, self._capacity)

    def _on_abort(self, frame: Frame, _now: float) -> None:
        text = bytes(frame.payload).decode(errors="replace")
        reason = "".join(character if character.isprintable() else "?" for character in text)
        refused = frame.number == AbortCode.NOT_ADMITTED
        self.fail(NotAdmittedError(reason) if refused else StreamAbortedError(reason))

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

    HANDLERS: ClassVar[
        dict[tuple[State, Kind], Callable[[Session, Frame, float], bytes | memoryview | None]]
    ] = {
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
