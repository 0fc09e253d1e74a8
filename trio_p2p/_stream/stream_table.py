"""The streams of one session, by number, and how many there may be. Pure."""

from __future__ import annotations

from .._errors import RemoteProtocolError
from .credit import EARLY_STREAMS, MAX_STREAMS
from .stream_frames import MAX_STREAM_NUMBER
from .substream import Substream


class StreamTable:
    """One side's view of the streams of both.

    Args:
        most: how many streams the other side may have open.
        is_opener: whether this side has opened the session: then its streams have even numbers.

    Attributes:
        most: the argument of this name.
        streams: the streams that are not over, by number.
        theirs: how many of them the other side has opened.
        unreleased: how many this side has opened that the accepting side is not done with.
        next_number: of the next stream that this side opens.
        next_theirs: the lowest number that the other side may give the next one.
    """

    def __init__(self, most: int, *, is_opener: bool) -> None:
        self.most: int = most
        self.streams: dict[int, Substream] = {}
        self.theirs: int = 0
        self.unreleased: int = 0
        self.next_number: int = 0 if is_opener else 1
        self.next_theirs: int = 1 if is_opener else 0
        self._limit = EARLY_STREAMS

    @property
    def own(self) -> int:
        """How many streams this side has opened that are not over."""
        return len(self.streams) - self.theirs

    @property
    def may_open(self) -> bool:
        """Whether the other side takes another stream now."""
        return self.unreleased < self._limit

    @property
    def has_numbers(self) -> bool:
        """Whether there is a number for another stream."""
        return self.next_number <= MAX_STREAM_NUMBER

    def limit(self, number: int) -> None:
        """Set how many streams the other side takes at a time."""
        self._limit = min(max(number, EARLY_STREAMS), MAX_STREAMS)

    def add_own(self, stream: Substream) -> None:
        """Add a stream that this side opens, with the next number."""
        self.next_number += 2
        self.unreleased += 1
        self.streams[stream.number] = stream

    def add_theirs(self, stream: Substream) -> None:
        """Add a stream that the other side has opened."""
        self.theirs += 1
        self.streams[stream.number] = stream

    def release(self, stream: Substream) -> None:
        """Note that the accepting side is done with a stream."""
        if stream.is_ours and not stream.is_released:
            stream.is_released = True
            self.unreleased -= 1

    def forget(self, stream: Substream) -> None:
        """Forget a stream that is over."""
        del self.streams[stream.number]
        self.theirs -= not stream.is_ours

    def take_number_untrusted(self, number: int) -> None:
        """Take the number of a stream that the other side opens.

        Raises:
            RemoteProtocolError: it may not.
        """
        if number % 2 != self.next_theirs % 2 or number < self.next_theirs:
            raise RemoteProtocolError(f"got a stream with number {number} out of turn")
        self.next_theirs = number + 2

    def find_untrusted(self, number: int) -> Substream | None:
        """The stream of a number; None if it is over.

        Raises:
            RemoteProtocolError: there never was one.
        """
        stream = self.streams.get(number)
        if stream is None:
            is_ours = number % 2 == self.next_number % 2
            if number >= (self.next_number if is_ours else self.next_theirs):
                raise RemoteProtocolError(f"got a frame of stream {number}, which was not opened")
        return stream
