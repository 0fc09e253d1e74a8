"""One of the streams of a connection: what is left of its two directions. Sans-IO."""

from __future__ import annotations

from typing import Protocol

from .._errors import P2PError
from .byte_queue import ByteQueue, Piece
from .credit import Budget
from .frames import MAX_PIECE_BYTES
from .receiving_stream import ReceivingStream
from .stream_frames import (
    EOF_FLAG,
    HEADER_BYTES,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    credit_frame,
    open_frame,
    reset_frame,
    stream_header,
)
from .stream_states import SENDING, Direction, StreamEvent

OUTBOX_BYTES = MAX_PIECE_BYTES  # how much waits in a stream until it is the stream's turn
MIN_PIECE_BYTES = 16_384  # more bytes than this are not cut smaller, as each piece has its cost


class Waiter(Protocol):
    """What waits for news of a stream."""

    @property
    def wants_room(self) -> bool:
        """Whether it waits until some bytes have left."""
        ...

    def wake(self) -> bool:
        """Let the tasks look again, as there may be news; whether one that reads was waked up."""
        ...


class Substream(ReceivingStream):
    """One stream.

    Args:
        number: its number on the wire.
        names: whom it is for.
        is_ours: whether this side opens it.
        window: how many bytes the other side may send at first.
        limit: how many bytes this side may send at first.

    Attributes:
        names, is_ours: the arguments of these names.
        sending: what is left of the sending direction.
        error: why it was cut short.
        is_refused: whether the other side reads no more.
        is_closed: whether the application is done with the stream.
        is_opened: whether the other side was told of it, or has told of it.
        is_released: whether the accepting side is done with the stream, too.
        waiter: what waits for news.
        sent: how many bytes were sent.
        end_offset: where in the session the last of its bytes end; None before they were sent.
    """

    __slots__ = (
        "__weakref__",
        "_is_told_stop",
        "_limit",
        "_outbox",
        "_reset",
        "end_offset",
        "error",
        "is_closed",
        "is_opened",
        "is_ours",
        "is_refused",
        "is_released",
        "names",
        "sending",
        "sent",
        "waiter",
    )

    def __init__(
        self, number: int, names: StreamNames, *, is_ours: bool, window: int, limit: int
    ) -> None:
        super().__init__(number, window, is_ours=is_ours)
        self.names: StreamNames = names
        self.is_ours: bool = is_ours
        self.sending: Direction = Direction.OPEN
        self.error: P2PError | None = None
        self.is_refused: bool = False
        self.is_closed: bool = False
        self.is_opened: bool = not is_ours
        self.is_released: bool = False
        self.waiter: Waiter | None = None
        self.end_offset: int | None = None
        self._is_told_stop = False
        self._reset: tuple[ResetCode, str] | None = None
        self._outbox: ByteQueue | None = None
        self._limit = limit
        self.sent: int = 0

    # What the application does.

    @property
    def room(self) -> int:
        """How many bytes :meth:`write` would take now."""
        return OUTBOX_BYTES - self._unsent

    @property
    def _unsent(self) -> int:
        return 0 if self._outbox is None else self._outbox.length

    def write(self, piece: Piece) -> None:
        """Take bytes to send; they must not be more than :attr:`room`."""
        assert self.sending is Direction.OPEN
        if self._outbox is None:
            self._outbox = ByteQueue()
        self._outbox.append(piece)

    def finish(self) -> None:
        """End the sending direction."""
        if self.sending in (Direction.OPEN, Direction.DROPPED):
            self.sending = SENDING[self.sending, StreamEvent.FINISH]

    def close(self, budget: Budget) -> None:
        """Close the stream: send the end, and read nothing more."""
        self.is_closed = True
        self.finish()
        self.drop_input(budget)

    def reset(self, code: ResetCode, reason: str, error: P2PError, budget: Budget) -> None:
        """End it at once, and tell the other side why."""
        # If the other side has closed the stream, nothing is cut short for it.
        if self.sending is Direction.CUT or self.is_silent or self.is_done_there:
            self.close(budget)
            return
        self.is_closed = True
        if self.is_opened:
            self._reset = code, reason
        self._inbox = None
        self.cut(error, budget)

    def cut(self, error: P2PError, budget: Budget) -> None:
        """End the stream; what has come may be read nevertheless."""
        self.error = self.error or error
        self._outbox = None
        if (self.sending, StreamEvent.RESET) in SENDING:
            self.sending = SENDING[self.sending, StreamEvent.RESET]
        self.cut_input(budget)

    # What is said.

    @property
    def has_control(self) -> bool:
        """Whether there is something to say that is not bytes, nor behind them."""
        return (
            (not self.is_opened and self.sending is not Direction.CUT)
            or self.owes_credit
            or self._reset is not None
            or (self._owes_stop and not self._is_end_next)
        )

    @property
    def has_data(self) -> bool:
        """Whether there are bytes that may be sent, or their end is next."""
        if not self.is_opened:  # that comes first
            return False
        return self._limit > self.sent if self._unsent else self._is_end_next

    @property
    def _is_end_next(self) -> bool:
        return self.sending is Direction.ENDING and self._outbox is None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is going to happen on it."""
        is_ended = self.sending in (Direction.ENDED, Direction.CUT)
        return is_ended and self.receiving in (Direction.ENDED, Direction.DROPPED, Direction.CUT)

    @property
    def is_done_there(self) -> bool:
        """Whether the other side has ended or lost both directions, and says no more."""
        return self.is_refused and self.receiving in (Direction.ENDED, Direction.CUT)

    @property
    def is_silent(self) -> bool:
        """Whether this side has nothing more to say of it, ever."""
        is_ended = self.sending is Direction.ENDED or self.sending is Direction.CUT
        return self.is_closed and is_ended and self._reset is None and not self._owes_stop

    @property
    def _owes_stop(self) -> bool:
        """Whether the other side is to know that nothing more is read.

        It need not if it has ended its direction itself, except from the accepting side, which
        so says that it is done with the stream.
        """
        if self._is_told_stop or not self.is_closed:
            return False
        return not self.is_ours or self.receiving is Direction.DROPPED

    def add_control(self, pieces: list[Piece]) -> None:
        """Say what is not bytes, nor behind them."""
        if not self.is_opened and self.sending is not Direction.CUT:
            self.is_opened = True
            pieces.append(open_frame(self.number, self.names, self._allowance.given))
        if self._reset is not None:
            pieces.append(reset_frame(self.number, *self._reset))
            self._reset = None
            self._is_told_stop = True
        if self.owes_credit:
            self.owes_credit = False
            pieces.append(credit_frame(self.number, self._allowance.given))
        if self._owes_stop and not self._is_end_next:
            self._is_told_stop = True
            pieces.append(stream_header(StreamFrameKind.DATA | STOP_FLAG, self.number))

    def add_data(self, pieces: list[Piece], room: int, *, may_be_cut: bool = True) -> int:
        """Send what comes next, and the end if it is that.

        Args:
            pieces: what is going to be sent.
            room: how many bytes there is room for.
            may_be_cut: whether to send a part, if there is no room for all that may be sent now.

        Returns:
            How many that were; 0 if there is too little room.
        """
        credit = self._limit - self.sent
        count = min(self._unsent, credit, MAX_PIECE_BYTES)
        if room < HEADER_BYTES + (min(count, MIN_PIECE_BYTES) if may_be_cut else count):
            return 0
        piece: Piece = b""
        if count and self._outbox is not None:
            piece = self._outbox.take(min(count, room - HEADER_BYTES))
            self.sent += len(piece)
            if not self._outbox.length:
                self._outbox = None
        flags = 0
        if self._is_end_next:
            self.sending = SENDING[self.sending, StreamEvent.END_SENT]
            flags = EOF_FLAG
            if self._owes_stop:
                self._is_told_stop = True
                flags |= STOP_FLAG
        header = stream_header(StreamFrameKind.DATA | flags, self.number, len(piece))
        if len(piece) < MIN_PIECE_BYTES:
            pieces.append(header + piece)
        else:
            pieces += (header, piece)
        return HEADER_BYTES + len(piece)

    # What the other side says.

    def refused(self) -> None:
        """The other side reads no more."""
        self.is_refused = True
        self._outbox = None
        if (self.sending, StreamEvent.STOP) in SENDING:
            self.sending = SENDING[self.sending, StreamEvent.STOP]

    def limited(self, limit: int) -> None:
        """Bytes up to an offset may be sent."""
        self._limit = max(self._limit, limit)
