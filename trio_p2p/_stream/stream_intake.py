"""What the other side says of streams, and what comes of it. Sans-IO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

from .._errors import RemoteProtocolError, StreamAbortedError
from .credit import Budget, first_credit
from .stream_frames import (
    EOF_FLAG,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    limit_of_untrusted,
    opening_of_untrusted,
    reset_error_of_untrusted,
)
from .stream_parser import StreamFrameParser
from .stream_table import StreamTable
from .substream import Substream


class StreamIntake(ABC):
    """The receiving half of a multiplexer.

    Args:
        table: the streams.
        budget: what the memory of streams grows from.
        is_accepting: whether streams of the other side are accepted from the beginning.

    Attributes:
        opened: streams that the other side has opened and that were not looked at yet.
        touched: streams that there may be news of.
        is_leaving: whether the other side opens no streams any more, and takes none.
    """

    def __init__(self, table: StreamTable, budget: Budget, *, is_accepting: bool) -> None:
        self.opened: deque[Substream] = deque()
        self.touched: dict[Substream, None] = {}
        self.is_leaving: bool = False
        self._table = table
        self._budget = budget
        self._is_accepting = is_accepting
        self._goaway: int | None = None  # the first number that is not taken
        self._refusals: deque[tuple[int, ResetCode, str]] = deque()
        self._parser = StreamFrameParser(self)

    @abstractmethod
    def _schedule(self, stream: Substream) -> None:
        """Note what a stream has to say, or that it is over."""

    @property
    def frames(self) -> int:
        """How many frames have come so far."""
        return self._parser.frames

    def get_buffer(self, size: int, /) -> memoryview:
        """Where to put the next bytes, of which there are about so many."""
        return self._parser.get_buffer(size)

    def buffer_updated(self, count: int, /) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more.

        Raises:
            RemoteProtocolError: they are not what the other side may say now.
        """
        self._parser.buffer_updated_untrusted(count)

    def announced_untrusted(self, number: int, length: int) -> Substream | None:
        """Bytes of a stream are going to come; None if it is over."""
        stream = self._table.find_untrusted(number)
        if stream is not None:
            stream.announced(length)
        return stream

    def passed_untrusted(self, stream: Substream, flags: int) -> None:
        """Bytes of a stream have come; all of a frame if there are flags."""
        self.touched[stream] = None
        if not flags:
            return
        if flags & EOF_FLAG:
            stream.ended(self._budget)
        if flags & STOP_FLAG:
            stream.refused()
        if stream.is_done_there:
            self._table.release(stream)
        self._schedule(stream)

    def control_untrusted(self, kind: int, number: int, payload: bytes) -> None:
        """A frame that brings no bytes has come."""
        match kind:
            case StreamFrameKind.OPEN:
                self._opened_untrusted(number, payload)
            case StreamFrameKind.STREAMS:
                self._table.limit(number)
            case StreamFrameKind.GOAWAY:
                self._left(number)
            case _:
                stream = self._table.find_untrusted(number)
                if stream is None:
                    return
                if kind == StreamFrameKind.CREDIT:
                    stream.limited(limit_of_untrusted(payload))
                else:
                    self._table.release(stream)
                    stream.cut(reset_error_of_untrusted(payload, stream.names), self._budget)
                self.touched[stream] = None
                self._schedule(stream)

    def _opened_untrusted(self, number: int, payload: bytes) -> None:
        self._table.take_number_untrusted(number)
        names, credit = opening_of_untrusted(payload)
        if self._table.theirs + len(self._refusals) >= self._table.most:
            raise RemoteProtocolError("got more streams than may be open")
        if self._goaway is not None and number >= self._goaway:
            self._refusals.append((number, ResetCode.DRAINING, "no new streams are taken"))
            return
        if not self._is_accepting:
            self._refusals.append((number, ResetCode.NOT_ACCEPTED, "no streams are accepted here"))
            return
        stream = Substream(
            number,
            names,
            is_ours=False,
            window=min(credit, first_credit(self._table.theirs)),  # less if the opener has lied
            limit=credit,
        )
        self._table.add_theirs(stream)
        self.opened.append(stream)

    def _left(self, number: int) -> None:
        """The other side takes no streams from this number on, and opens none."""
        if self.is_leaving:
            return  # it is said once, and each time would cost a look at all streams
        self.is_leaving = True
        error = StreamAbortedError("the other side is going to end, and takes no new streams")
        for stream in [*self._table.streams.values()]:
            if stream.is_ours and stream.number >= number:
                self._table.release(stream)
                stream.cut(error, self._budget)
                self.touched[stream] = None
                self._schedule(stream)
