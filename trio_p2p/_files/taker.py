"""The side that takes files: what it says to what it hears, and what it writes meanwhile.

It has no network and no tasks: it takes bytes and returns bytes, and blocks for the disk only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from .._errors import RemoteProtocolError
from .failures import FilesError
from .intake import Intake
from .listing import Listing
from .messages import Begin, Done, End, Entry, Failed, Get, Message, Offer, encode
from .order import Order, Request
from .partial_file import PartialFile
from .taken_tree import TakenTree
from .tally import Tally

AHEAD = 32  # files that are asked for before the first of them has come


class ListingReader:
    """Reads an offer.

    Args:
        intake: what takes the stream's bytes apart, now and later.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._listing = Listing()
        self._count = 0

    def take_untrusted(self, data: bytes | bytearray) -> Listing | None:
        """Take what has come; what is offered, once that is complete.

        Raises:
            RemoteProtocolError: it is no offer, or none that is sound.
        """
        for message in self._intake.take_untrusted(data):
            match message:
                case Offer() if not self._count:
                    self._count = message.entries
                case Entry() if len(self._listing.entries) < self._count:
                    self._listing.add_untrusted(message)
                case _:
                    raise RemoteProtocolError("the peer says something else than what it offers")
        return self._listing if len(self._listing.entries) == self._count > 0 else None


class Taker:
    """Takes the files of an offer.

    Args:
        listing: what is offered.
        tree: where it is to stand.
        requests: what to ask for.
        intake: what takes the stream's bytes apart.
        tally: what to count in.
        checkpoint: called again and again; raises an error to stop.

    Attributes:
        failures: a sentence for each file that could not be taken.
    """

    def __init__(
        self,
        listing: Listing,
        tree: TakenTree,
        requests: Iterable[Request],
        *,
        intake: Intake,
        tally: Tally,
        checkpoint: Callable[[], None],
    ) -> None:
        self.failures: list[str] = []
        self._listing = listing
        self._tree = tree
        self._waiting = deque(requests)
        self._intake = intake
        self._tally = tally
        self._checkpoint = checkpoint
        self._order = Order()
        self._request: Request | None = None
        self._file: PartialFile | None = None  # None while content is dropped, too

    @property
    def is_done(self) -> bool:
        """Whether all files have come, or failed."""
        return not self._waiting and not self._order

    def begin(self) -> bytes:
        """Make the folders; what to say first.

        Raises:
            FilesError: one cannot be made.
        """
        self._tree.make_folders(self._checkpoint)
        return self._ask()

    def take_untrusted(self, data: bytes | bytearray) -> bytes:
        """Take what has come, and write it; what to say to that.

        Raises:
            RemoteProtocolError: it is not what was asked for.
            FilesError: it cannot be written.
        """
        for each in self._intake.take_untrusted(data):
            if isinstance(each, memoryview):
                self._take_content(each)
            else:
                self._take_message(each)
        return self._ask()

    def close(self) -> None:
        """Close the file that is being written, and keep it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _ask(self) -> bytes:
        said = bytearray()
        while self._waiting and len(self._order) < AHEAD:
            request = self._waiting.popleft()
            self._order.add(request)
            said += encode(Get(request.entry, request.offset))
        if self.is_done and not self.failures:
            said += encode(Done())
        return bytes(said)

    def _take_message(self, message: Message) -> None:
        match message:
            case Begin():
                self._begin(message)
            case End():
                self._order.end_untrusted()
                self._end(message.digest)
            case Failed():
                request = self._order.fail_untrusted()
                self.close()
                self._fail(request.entry, f"the other side cannot give it: {message.reason}")
            case _:
                raise RemoteProtocolError(f"the peer says {message.type!r} when files are to come")

    def _begin(self, message: Begin) -> None:
        request = self._request = self._order.begin_untrusted(message)
        if request.is_whole:
            return
        self._file = self._tree.open_partial(request.entry)
        try:
            is_kept = self._file.keep(request.offset, message.digest, self._checkpoint)
        except OSError as error:
            raise self._tree.failure(request.entry, error) from error
        if is_kept:
            self._tally.kept += request.offset
        else:
            # What comes is of another file than what is here: drop it, and ask for all of it.
            self.close()
            self._waiting.append(Request(request.entry, request.size))

    def _take_content(self, content: memoryview) -> None:
        self._order.content_untrusted(len(content))
        if self._file is None:
            return
        self._tally.moved += len(content)
        try:
            self._file.write(content)
        except OSError as error:
            assert self._request is not None
            raise FilesError(
                f"{self._tree.failure(self._request.entry, error)}; what has come is kept: when "
                "that is mended, run the same command again"
            ) from error

    def _end(self, digest: bytes) -> None:
        request = self._request
        assert request is not None
        if request.is_whole:
            if self._tree.has_content(request.entry, digest, self._checkpoint):
                self._tally.kept += request.size
                self._tally.files_done += 1
            else:
                self._fail(request.entry, "it is here already with other content, which was kept")
        elif self._file is not None:
            self._finish(request.entry, self._file, digest)
        self.close()

    def _finish(self, number: int, file: PartialFile, digest: bytes) -> None:
        try:
            is_right = self._tree.finish(number, file, digest)
        except FileExistsError:
            self._fail(number, "something of this name came to be here meanwhile, and was kept")
        else:
            if is_right:
                self._tally.files_done += 1
            else:
                self._fail(number, "its checksum is wrong: receive it again")

    def _fail(self, number: int, why: str) -> None:
        self.failures.append(f"{self._listing.path_of(number)!r} was not taken: {why}")
