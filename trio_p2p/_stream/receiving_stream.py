"""A stream as far as it receives: bytes, until they are read, and how many may come. Sans-IO."""

from __future__ import annotations

from .._errors import RemoteProtocolError
from .byte_queue import Piece
from .credit import Allowance, Budget
from .inbox import Inbox
from .stream_frames import credit_frame
from .stream_states import RECEIVING, Direction, StreamEvent

LARGE_BYTES = 16_384


class ReceivingStream:
    """The receiving direction of a stream.

    Args:
        number: the stream's on the wire.
        window: how many bytes the other side may send at first.
        is_ours: whether this side opens the stream.

    Attributes:
        number: the argument of this name.
        receiving: what is left of the direction.
        owes_credit: whether the other side is to know that it may send more.
    """

    __slots__ = (
        "_allowance",
        "_inbox",
        "_read",
        "_received",
        "number",
        "owes_credit",
        "receiving",
    )

    def __init__(self, number: int, window: int, *, is_ours: bool) -> None:
        self.number: int = number
        self.receiving: Direction = Direction.OPEN
        self.owes_credit: bool = False
        self._allowance = Allowance(window, is_own=is_ours)
        self._inbox: Inbox | None = None
        self._read = 0
        self._received = 0  # or announced

    # What the application does.

    @property
    def has_input(self) -> bool:
        """Whether :meth:`read` would return something."""
        return bool(self._inbox) or self.receiving in (Direction.ENDED, Direction.CUT)

    def read(self, max_bytes: int, largest: int, budget: Budget) -> Piece | None:
        """Some of the bytes that came; empty at their end, None if there are none yet.

        Args:
            max_bytes: how many at most.
            largest: what the window may grow to.
            budget: what it grows from.
        """
        if not self._inbox:
            return b"" if self.receiving is Direction.ENDED else None
        piece = self._inbox.take(max_bytes)
        self._read += len(piece)
        held = len(self._inbox)
        if self.receiving is not Direction.OPEN:
            if not held:
                self._allowance.end(budget)
        elif self._allowance.read(self._read, held, largest, budget):
            self.owes_credit = True
        if not held:
            self._inbox = None
        return piece

    @property
    def has_early_credit(self) -> bool:
        """Whether there is enough new credit to tell of it together with something else."""
        return self.receiving is Direction.OPEN and self._allowance.has_early(self._read)

    def add_early_credit(self, pieces: list[Piece]) -> int:
        """Tell of new credit, if there is enough of it still; how many bytes that took."""
        if self.receiving is not Direction.OPEN or not self._allowance.renew_early(self._read):
            return 0
        pieces.append(credit_frame(self.number, self._allowance.given))
        return len(pieces[-1])

    def drop_input(self, budget: Budget) -> None:
        """Drop what has come, and what comes from now on: nothing more is read."""
        self._inbox = None
        self.owes_credit = False
        self._allowance.end(budget)
        if (self.receiving, StreamEvent.STOP) in RECEIVING:
            self.receiving = RECEIVING[self.receiving, StreamEvent.STOP]

    def cut_input(self, budget: Budget) -> None:
        """End what comes; what has come may be read nevertheless."""
        if (self.receiving, StreamEvent.RESET) in RECEIVING:
            self.receiving = RECEIVING[self.receiving, StreamEvent.RESET]
        if not self._inbox:
            self._allowance.end(budget)

    # What the other side says.

    def announced(self, length: int) -> None:
        """Bytes are going to come.

        Raises:
            RemoteProtocolError: they may not come now.
        """
        if length and self.receiving is Direction.ENDED:
            raise RemoteProtocolError(f"got bytes behind the end of stream {self.number}")
        self._received += length
        if self._received > self._allowance.given:
            raise RemoteProtocolError(f"got more bytes of stream {self.number} than it has credit")
        self._allowance.came(self._received)

    def get_buffer(self, missing: int, size: int) -> memoryview | None:
        """Where to put announced bytes; None if they are not wanted.

        Args:
            missing: how many have not come.
            size: how many are there, about, those of other streams included.
        """
        if self.receiving is not Direction.OPEN:
            return None
        if self._inbox is None:
            self._inbox = Inbox()
        # What follows a large piece is likely to be another one, and to be read with it.
        most = missing + self._allowance.given - self._received
        return self._inbox.get_buffer(
            missing, min(size, most if missing >= LARGE_BYTES else missing)
        )

    def arrived(self, count: int) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more."""
        if self._inbox is not None:
            self._inbox.arrived(count)

    def append(self, data: bytes) -> None:
        """Announced bytes came, and were put elsewhere."""
        if self.receiving is Direction.OPEN:
            if self._inbox is None:
                self._inbox = Inbox()
            self._inbox.append(data)

    def ended(self, budget: Budget) -> None:
        """The other side has no more to send.

        Raises:
            RemoteProtocolError: it has said so before.
        """
        if self.receiving is Direction.ENDED:
            raise RemoteProtocolError(f"got two ends of stream {self.number}")
        if self.receiving is not Direction.CUT:
            self.receiving = RECEIVING[self.receiving, StreamEvent.END_CAME]
        self.owes_credit = False
        if not self._inbox:
            self._allowance.end(budget)
