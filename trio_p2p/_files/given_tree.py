"""The files that the user gives: what they are, and their content."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from .attributes import modified_of, permissions_of
from .checksum import BLOCK_BYTES, Checksum, checksum_of_beginning
from .failures import FilesError
from .folder import Folder
from .listing import Listing
from .messages import Entry
from .names import check_name


class GivenTree:
    """Files and folders of ours, as they are when this is made.

    Links and devices in folders are left out.

    Args:
        paths: what the user has named; a link among these stands for what it leads to.
        checkpoint: called again and again; raises an error to stop.

    Attributes:
        listing: what there is.
        left_out: the paths of links, devices and the like.

    Raises:
        FilesError: something is not there, cannot be read, or has a name that no receiver takes.
    """

    def __init__(self, paths: Sequence[Path], checkpoint: Callable[[], None]) -> None:
        self.listing = Listing()
        self.left_out: list[str] = []
        self._checkpoint = checkpoint
        self._tops: dict[int, Path] = {}  # the folders of what the user has named, by its number
        for path in paths:
            self._add_named(path)

    def _add_named(self, path: Path) -> None:
        try:
            whole = path.resolve(strict=True)
            if not whole.name:
                raise FilesError(f"{str(path)!r} has no name to send it by: name what is in it")
            self._tops[len(self.listing.entries)] = whole.parent
            with Folder.at(whole.parent) as folder:
                self._add(folder, whole.name, None, str(path), is_named=True)
        except (OSError, RuntimeError) as error:  # the latter of a loop of links
            reason = error.strerror if isinstance(error, OSError) else error
            raise FilesError(f"{str(path)!r} cannot be read: {reason}") from error

    def _add(
        self, folder: Folder, name: str, parent: int | None, path: str, *, is_named: bool = False
    ) -> None:
        self._checkpoint()
        found = folder.look_at(name)
        if found is None:  # removed since
            raise FileNotFoundError(None, "it is not there any more")
        is_folder = stat.S_ISDIR(found.st_mode)
        if not is_folder and not stat.S_ISREG(found.st_mode):
            if is_named:
                raise FilesError(f"{path!r} is neither a file nor a folder")
            self.left_out.append(path)
            return
        number = len(self.listing.entries)
        try:
            check_name(name)
            self.listing.add(
                Entry(name, parent)
                if is_folder
                else Entry(name, parent, found.st_size, permissions_of(found), modified_of(found))
            )
        except ValueError as error:
            raise FilesError(f"{path!a} cannot be sent: {error}") from None
        if is_folder:
            with folder.open_folder(name) as opened:
                for each in opened.names():
                    self._add(opened, each, number, f"{path.rstrip('/')}/{each}")

    def open(self, number: int) -> GivenFile:
        """A file that is offered.

        Raises:
            OSError: it is not there any more, or not what it was.
        """
        entry = self.listing.entries[number]
        with self._folder_of(number) as folder:
            descriptor = folder.open_file(entry.name, os.O_RDONLY)
        if os.fstat(descriptor).st_size != entry.size:
            os.close(descriptor)
            raise OSError(None, "it has changed since it was offered")
        return GivenFile(descriptor)

    def _folder_of(self, number: int) -> Folder:
        """The open folder that an entry is in."""
        parent = self.listing.entries[number].parent
        if parent is None:
            return Folder.at(self._tops[number])
        with self._folder_of(parent) as folder:
            return folder.open_folder(self.listing.entries[parent].name)


@attrs.define(eq=False)
class GivenFile:
    """A file that is being read.

    Args:
        descriptor: its descriptor, which is this object's from now on.
    """

    _descriptor: int
    _checksum: Checksum = attrs.field(factory=Checksum, init=False)

    def skip(self, length: int, checkpoint: Callable[[], None]) -> bytes:
        """Go to an offset; the SHA-256 of what precedes it.

        Raises:
            OSError: the file has become shorter.
        """
        checksum = checksum_of_beginning(self._descriptor, length, checkpoint)
        if checksum is None:
            raise OSError(None, "it has become shorter since it was offered")
        self._checksum = checksum
        os.lseek(self._descriptor, length, os.SEEK_SET)
        return checksum.digest()

    def read(self, length: int) -> bytes:
        """What comes next, up to so many bytes.

        Raises:
            OSError: there is nothing, or it cannot be read.
        """
        block = os.read(self._descriptor, min(length, BLOCK_BYTES))
        if not block:
            raise OSError(None, "it has become shorter since it was offered")
        self._checksum.add(block)
        return block

    def digest(self) -> bytes:
        """The SHA-256 of what was read so far."""
        return self._checksum.digest()

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
