"""Many streams in what one session carries. Sans-IO.

The session asks for what comes next: first what is said of streams, then a piece of one stream's
bytes after the other. What it receives goes at once to the stream that it belongs to, so that a
stream which is not read holds up no other one.

Streams have numbers: those of the side that opened the session are even, in the order of opening.
A side may have as many streams open as the other one has said; a stream counts until the accepting
side has said that it is done with it, by EOF and STOP, or by RESET. As what one side says arrives
in order, the accepting side never counts more open streams than the opening one does. It may count
less for a while, so that the opening side says in OPEN what the first credit of both directions is.
"""

from __future__ import annotations

from .._errors import P2PError, StreamAbortedError
from .byte_queue import Piece
from .credit import Budget, first_credit, reserved_memory
from .states import SessionRole
from .stream_frames import (
    HEADER_BYTES,
    MAX_CONTROL_BYTES,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    reset_frame,
    stream_header,
)
from .stream_intake import StreamIntake
from .stream_states import Direction
from .stream_table import StreamTable
from .substream import MIN_PIECE_BYTES, Substream

# Room that the control frames of one more stream may take.
_CONTROL_ROOM = 3 * (HEADER_BYTES + MAX_CONTROL_BYTES)


class Multiplexer(StreamIntake):
    """One side's streams; what its session carries.

    Args:
        role: which side of the session this is.
        streams: how many streams the other side may have open.
        memory: how many bytes all of them may hold that are not read, at most.
        largest: how many bytes one of them may hold, at most.
        is_accepting: whether streams of the other side are accepted from the beginning.

    Attributes:
        closed: streams that are over.
    """

    def __init__(
        self, role: SessionRole, *, streams: int, memory: int, largest: int, is_accepting: bool
    ) -> None:
        super().__init__(
            StreamTable(streams, is_opener=role is SessionRole.OPENER),
            Budget(memory - reserved_memory(streams)),
            is_accepting=is_accepting,
        )
        self.closed: list[Substream] = []
        self._is_told_streams = False
        self._is_told_goaway = False
        self._largest = largest
        self._control: dict[Substream, None] = {}
        self._data: dict[Substream, None] = {}
        self._creditors: dict[Substream, None] = {}  # with credit to be told of along the way
        self._served: list[Substream] = []  # that had their turn, and have more to send
        self._error: P2PError | None = None
        self._pulled = 0

    def __len__(self) -> int:
        """How many streams are open, of both sides."""
        return len(self._table.streams)

    # What the application does.

    @property
    def may_open(self) -> bool:
        """Whether the other side takes another stream now."""
        return self._table.may_open and self._error is None

    @property
    def has_opened_all(self) -> bool:
        """Whether no stream can be opened any more."""
        return self.is_leaving or self._goaway is not None or not self._table.has_numbers

    def open(self, names: StreamNames) -> Substream:
        """Open a stream; :attr:`may_open` must hold."""
        # Those count, too, whose accepting side is done with them, as they may still hold bytes.
        credit = first_credit(self._table.own)
        self._budget.begin(credit)
        number = self._table.next_number
        stream = Substream(number, names, is_ours=True, window=credit, limit=credit)
        self._table.add_own(stream)
        self._control[stream] = None
        return stream

    def accept_streams(self) -> None:
        """Take the streams that the other side opens from now on."""
        self._is_accepting = True

    def write(self, stream: Substream, piece: Piece) -> None:
        """Take bytes to send; they must not be more than the stream has room for."""
        stream.write(piece)
        if stream.has_data:
            self._data[stream] = None

    def finish(self, stream: Substream) -> None:
        """End the sending direction of a stream."""
        stream.finish()
        if stream.has_data:
            self._data[stream] = None

    def read(self, stream: Substream, max_bytes: int) -> Piece | None:
        """Some of the bytes that came; empty at their end, None if there are none yet."""
        piece = stream.read(max_bytes, self._largest, self._budget)
        if stream.owes_credit:
            self._schedule(stream)
        elif piece and stream.has_early_credit:
            self._creditors[stream] = None
        return piece

    def close(self, stream: Substream) -> None:
        """Close a stream: send the end, and read nothing more."""
        stream.close(self._budget)
        self._schedule(stream)

    def reset(
        self, stream: Substream, code: ResetCode, reason: str, error: P2PError | None = None
    ) -> None:
        """End a stream at once.

        Args:
            stream: the stream.
            code: why, for the other side.
            reason: why, in words for the other side.
            error: why, for this side.
        """
        stream.reset(code, reason, error or StreamAbortedError(reason), self._budget)
        # The other side need not even know of it, or says no more of it.
        if not stream.is_opened or stream.is_done_there:
            self._table.release(stream)
        self._schedule(stream)

    def go_away(self) -> None:
        """Open no more streams, and take none."""
        if self._goaway is None:
            self._goaway = self._table.next_theirs

    def fail(self, error: P2PError, *, is_clean: bool = False) -> None:
        """End all streams, as the session is over.

        Args:
            error: why.
            is_clean: whether the other side has closed the session. Then only those are cut short
                whose bytes have not ended: it does not read the others any more.
        """
        if self._error is not None:
            return
        self._error = error
        self._is_told_streams = self._is_told_goaway = True
        self._refusals.clear()
        self._control.clear()
        self._data.clear()
        self._creditors.clear()
        self._served.clear()
        for stream in self._table.streams.values():
            if is_clean and stream.receiving in (Direction.ENDED, Direction.DROPPED):
                stream.refused()
            else:
                stream.cut(error, self._budget)
            self.touched[stream] = None
        self.closed += self._table.streams.values()
        self._table.streams.clear()

    # What the session asks for.

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`pull` would return something, if there were room enough."""
        return bool(self._data or self._control or self._refusals) or self._owes_words

    @property
    def is_silent(self) -> bool:
        """Whether nothing is left to say of any stream."""
        return not self.is_ready and all(each.is_silent for each in self._table.streams.values())

    @property
    def _owes_words(self) -> bool:
        owes_goaway = self._goaway is not None and not self._is_told_goaway
        return not self._is_told_streams or owes_goaway

    def pull(self, room: int) -> list[Piece]:
        """What is to be sent next, of at most so many bytes."""
        pieces: list[Piece] = []
        left = self._add_control(pieces, room) if room >= _CONTROL_ROOM else room
        for stream in self._served:
            if stream in self._data:  # behind those that have got something to send since
                del self._data[stream]
                self._data[stream] = None
        self._served.clear()
        while self._data:
            stream = next(iter(self._data))
            # Each part of a piece has its cost: if there is enough else, it need not be cut in two.
            is_little = room - left < MIN_PIECE_BYTES
            count = stream.add_data(pieces, left, may_be_cut=is_little)
            if not count:
                break
            left -= count
            del self._data[stream]  # others come first
            stream.end_offset = self._pulled + room - left
            if stream.waiter is not None and stream.waiter.wants_room:
                self.touched[stream] = None
            self._schedule(stream)
            if stream in self._data:
                self._served.append(stream)
            if count > HEADER_BYTES and left < room // 2:
                break  # so that what comes up meanwhile need not wait for more
        self._pulled += room - left
        return pieces

    def _add_control(self, pieces: list[Piece], room: int) -> int:
        """Say what is not bytes of streams; how much room is left."""
        left = room - self._add_words(pieces)
        while self._refusals and left >= _CONTROL_ROOM:
            pieces.append(reset_frame(*self._refusals.popleft()))
            left -= len(pieces[-1])
        while self._control and left >= _CONTROL_ROOM:
            stream = next(iter(self._control))
            del self._control[stream]
            before = len(pieces)
            stream.add_control(pieces)
            left -= sum(map(len, pieces[before:]))
            self._schedule(stream)
        while self._creditors and left >= _CONTROL_ROOM:
            stream, _ = self._creditors.popitem()
            left -= stream.add_early_credit(pieces)
        return left

    def _add_words(self, pieces: list[Piece]) -> int:
        """Say what is not about one stream; how many bytes that were."""
        if not self._is_told_streams:
            self._is_told_streams = True
            pieces.append(stream_header(StreamFrameKind.STREAMS, self._table.most))
        if self._goaway is not None and not self._is_told_goaway:
            self._is_told_goaway = True
            pieces.append(stream_header(StreamFrameKind.GOAWAY, self._goaway))
        return sum(map(len, pieces))

    def _schedule(self, stream: Substream) -> None:
        """Note what a stream has to say, or that it is over."""
        if stream.number not in self._table.streams:
            return
        if stream.has_control:
            self._control[stream] = None
        else:
            self._control.pop(stream, None)
        if stream.has_data:
            self._data[stream] = None
        elif stream in self._data:
            del self._data[stream]
        if stream.is_closed and stream.is_silent and (stream.is_released or not stream.is_ours):
            self._forget(stream)

    def _forget(self, stream: Substream) -> None:
        self._table.forget(stream)
        self._control.pop(stream, None)
        self._data.pop(stream, None)
        self._creditors.pop(stream, None)
        self.closed.append(stream)
        self.touched[stream] = None
