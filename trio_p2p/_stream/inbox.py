"""The bytes of a stream that have come and wait to be read. Pure."""

from __future__ import annotations

from .byte_queue import ByteQueue, Piece

# A chunk of which less than this share is in use is copied, and its memory freed.
NEEDED_SHARE = 7 / 8


class Inbox:
    """Bytes in order, put straight to where they are kept."""

    __slots__ = ("_chunk", "_filled", "_queue")

    def __init__(self) -> None:
        self._queue: ByteQueue | None = None
        self._chunk: bytearray | None = None  # where bytes are put; then it joins the queue
        self._filled = 0

    def __len__(self) -> int:
        return self._filled + (self._queue.length if self._queue is not None else 0)

    def get_buffer(self, missing: int, size: int) -> memoryview:
        """Where to put the next bytes.

        Args:
            missing: how many are going to come, at least one.
            size: how much memory to take for these and for what follows them.
        """
        if self._chunk is None:
            self._chunk = bytearray(size)
        return memoryview(self._chunk)[self._filled : self._filled + missing]

    def arrived(self, count: int) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more."""
        assert self._chunk is not None
        self._filled += count
        if self._filled == len(self._chunk):
            self._finish_chunk()

    def append(self, piece: Piece) -> None:
        """Add bytes that were put elsewhere, which nothing changes afterwards."""
        self._finish_chunk()
        if self._queue is None:
            self._queue = ByteQueue()
        self._queue.append(piece)

    def take(self, max_bytes: int) -> Piece:
        """Remove and return some bytes; none if there are none."""
        if self._queue is None:
            self._finish_chunk(is_kept=self._filled > max_bytes)
        if self._queue is None:
            return b""
        taken = self._queue.take(max_bytes)
        if not self._queue.length:
            self._queue = None
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._queue = self._chunk = None
        self._filled = 0

    def _finish_chunk(self, *, is_kept: bool = True) -> None:
        """Let what has come join the queue.

        Args:
            is_kept: whether it stays there: then it keeps no memory that it does not need.
        """
        if self._chunk is not None and self._filled:
            chunk, filled = self._chunk, self._filled
            self._chunk, self._filled = None, 0
            if is_kept and filled < len(chunk) * NEEDED_SHARE:
                chunk = chunk[:filled]  # deleting the rest would free it only if the rest is larger
            else:
                del chunk[filled:]
            if self._queue is None:
                self._queue = ByteQueue()
            self._queue.append(chunk)
