"""The side that gives files: what it says to what it hears, and what it reads meanwhile.

It has no network and no tasks: it takes bytes and returns bytes, and blocks for the disk only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .._errors import RemoteProtocolError
from .checksum import BLOCK_BYTES
from .failures import FilesError
from .given_tree import GivenFile, GivenTree
from .intake import Intake
from .messages import Begin, Decline, Done, End, Failed, Get, Offer, Piece, encode
from .tally import Tally

MAX_REQUESTS = 64  # that wait for their answers; the taking side makes half as many


class Giver:
    """Gives the files of a tree to one taking side.

    Args:
        tree: the files.
        tally: what to count in.
        checkpoint: called again and again; raises an error to stop.

    Attributes:
        is_wanted: whether the taking side has asked for a file.
        is_done: whether it has said that it has them all.
    """

    def __init__(self, tree: GivenTree, tally: Tally, checkpoint: Callable[[], None]) -> None:
        self.is_wanted = self.is_done = False
        self._tree = tree
        self._tally = tally
        self._checkpoint = checkpoint
        self._intake = Intake()
        self._requests: deque[Get] = deque()
        self._file: GivenFile | None = None
        self._entry = 0  # its number
        self._left = 0  # bytes of it
        self._failures: list[str] = []

    def offer(self) -> bytes:
        """What to say first."""
        entries = self._tree.listing.entries
        return encode(Offer(len(entries))) + b"".join(map(encode, entries))

    def take_untrusted(self, data: bytes | bytearray) -> None:
        """Take what has come.

        Raises:
            RemoteProtocolError: a taking side does not say that.
            FilesError: it declines.
        """
        for message in self._intake.take_untrusted(data):
            match message:
                case Get() if len(self._requests) < MAX_REQUESTS:
                    self._check(message)
                    self.is_wanted = True
                    self._requests.append(message)
                case Done():
                    self.is_done = True
                case Decline() if self._failures:
                    count = len(self._failures)
                    more = f", the first of {count}" if count > 1 else ""
                    raise FilesError(f"not all files could be read here: {self._failures[0]}{more}")
                case Decline():
                    raise FilesError(f"the other side has not taken all files: {message.reason}")
                case _:
                    raise RemoteProtocolError("the peer says what no taking side says")

    def _check(self, request: Get) -> None:
        entries = self._tree.listing.entries
        size = entries[request.entry].size if request.entry < len(entries) else None
        if size is None or request.offset > size:
            raise RemoteProtocolError("the peer asks for a file that was not offered")

    def next_answer(self) -> bytes:
        """Some of what is to be said; nothing if all is said.

        Small files are put together, as a call may be to another thread.
        """
        said: list[bytes] = []
        length = 0
        while length < BLOCK_BYTES and (self._file is not None or self._requests):
            self._checkpoint()
            try:
                more = self._begin() if self._file is None else self._go_on(self._file)
            except OSError as error:
                self.close()
                reason = error.strerror or "it cannot be read"
                self._failures.append(f"{self._tree.listing.path_of(self._entry)!a}: {reason}")
                more = [encode(Failed(reason))]
            said += more
            length += sum(map(len, more))
        return b"".join(said)

    def _begin(self) -> list[bytes]:
        request = self._requests.popleft()
        self._entry = request.entry
        file = self._file = self._tree.open(request.entry)
        digest = file.skip(request.offset, self._checkpoint) if request.offset else None
        self._tally.kept += request.offset
        size = self._tree.listing.entries[request.entry].size
        assert size is not None
        self._left = size - request.offset
        return [encode(Begin(request.entry, digest))]

    def _go_on(self, file: GivenFile) -> list[bytes]:
        if not self._left:
            digest = file.digest()
            self.close()
            self._tally.files_done += 1
            return [encode(End(digest))]
        block = file.read(self._left)
        self._left -= len(block)
        self._tally.moved += len(block)
        return [encode(Piece(len(block))), block]

    def close(self) -> None:
        """Close the file that is being read."""
        if self._file is not None:
            self._file.close()
            self._file = None
