"""The files and folders of an offer, as a tree that is sound. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .._errors import RemoteProtocolError
from .._wire.fields import MAX_COUNT
from .messages import MAX_ENTRIES, Entry
from .names import folded

MAX_DEPTH = 64  # folders in each other


class Listing:
    """Entries in which each folder precedes what is in it, and no two in a folder have one name.

    Attributes:
        entries: all of them, by their numbers.
        total: how many bytes all files have.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.total = 0
        self._depths: list[int] = []
        self._names: set[tuple[int | None, str]] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listing) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment] # it grows

    def add(self, entry: Entry) -> None:
        """Add the next entry.

        Raises:
            ValueError: it does not belong there; the text says why.
        """
        if len(self.entries) == MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES} files and folders: send them as one archive")
        depth = 0
        if entry.parent is not None:
            if entry.parent >= len(self.entries) or self.entries[entry.parent].size is not None:
                raise ValueError(f"{entry.name!a} is in what is no folder")
            depth = self._depths[entry.parent] + 1
        if depth >= MAX_DEPTH:
            raise ValueError(
                f"{entry.name!a} is in more than {MAX_DEPTH} folders: send them as one archive"
            )
        name = entry.parent, folded(entry.name)
        if name in self._names:
            raise ValueError(
                f"two names in one folder, of which one is {entry.name!a}, are the same to some "
                "systems: rename one, or send both in an archive"
            )
        total = self.total + (entry.size or 0)
        if total > MAX_COUNT:
            raise ValueError("the files are larger together than any file system")
        self._names.add(name)
        self._depths.append(depth)
        self.entries.append(entry)
        self.total = total

    def add_untrusted(self, entry: Entry) -> None:
        """Add an entry that another peer has named.

        Raises:
            RemoteProtocolError: it does not belong there.
        """
        try:
            self.add(entry)
        except ValueError as error:
            raise RemoteProtocolError(f"the files that are offered are refused: {error}") from None

    def files(self) -> Iterator[tuple[int, int]]:
        """The number and size of each file."""
        for number, entry in enumerate(self.entries):
            if entry.size is not None:
                yield number, entry.size

    def path_of(self, number: int) -> str:
        """The path of an entry, for people."""
        names: list[str] = []
        at: int | None = number
        while at is not None:
            names.append(self.entries[at].name)
            at = self.entries[at].parent
        return "/".join(reversed(names))
