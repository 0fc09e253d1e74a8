"""A queue of bytes that copies little, and holds small pieces in little memory. Pure."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

Piece: TypeAlias = bytes | bytearray

_SMALL = 4096  # a piece of up to so many bytes joins the one before it,
_FULL = 65_536  # until that one is so long


class ByteQueue:
    """Bytes in order, in pieces.

    Attributes:
        length: how many there are.
    """

    __slots__ = ("_pieces", "_taken", "length")

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._taken = 0  # of the first piece
        self.length: int = 0

    def append(self, piece: Piece) -> None:
        """Add a piece, which may not be changed afterwards."""
        if not piece:
            return
        self.length += len(piece)
        if len(piece) <= _SMALL and self._pieces:
            last = self._pieces[-1]
            if len(last) < _FULL and (len(last) <= _SMALL or isinstance(last, bytearray)):
                if isinstance(last, bytes):
                    last = self._pieces[-1] = bytearray(last)
                last += piece
                return
        self._pieces.append(piece)

    def take(self, count: int) -> Piece:
        """Remove and return up to so many bytes from the front, all of one piece.

        If that is the whole piece, it is the very one that was added, or what others joined.
        """
        if not self._pieces:
            return b""
        first = self._pieces[0]
        end = self._taken + count
        if end < len(first):
            taken = first[self._taken : end]
            self._taken = end
        else:
            taken = first[self._taken :] if self._taken else first
            self._pieces.popleft()
            self._taken = 0
        self.length -= len(taken)
        return taken

    def drop(self, count: int) -> None:
        """Remove so many bytes from the front."""
        self.length -= count
        self._taken += count
        while self._pieces and self._taken >= len(self._pieces[0]):
            self._taken -= len(self._pieces.popleft())

    def put_back(self, other: ByteQueue) -> None:
        """Move all of another queue to the front."""
        if self._taken:
            self._pieces[0] = self._pieces[0][self._taken :]
        if other._taken:
            other._pieces[0] = other._pieces[0][other._taken :]
        self._pieces.extendleft(reversed(other._pieces))
        self.length += other.length
        self._taken = 0
        other.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._taken = self.length = 0


def piece_of(
    data: bytes | bytearray | memoryview, view: memoryview, start: int, count: int
) -> bytes:
    """Some of the data that an application gives, which it cannot change any more.

    Args:
        data: all of it.
        view: the data as bytes.
        start: where the piece begins.
        count: how many bytes it has.
    """
    if isinstance(data, bytes) and count == len(data):
        return data
    return bytes(view[start : start + count])
