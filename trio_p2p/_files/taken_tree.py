"""Where the files of an offer come to stand in the user's folder, and what stands there already."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from .._identity.peer_id import PeerId
from .attributes import current_umask
from .checksum import checksum_of_beginning
from .failures import FilesError
from .folder import Folder
from .listing import Listing
from .order import Request
from .partial_file import PartialFile, partial_name


class TakenTree:
    """The files and folders of an offer, in a folder of ours.

    Args:
        target: the folder.
        listing: what is offered.
        peer_id: the peer that offers it.
    """

    def __init__(self, target: Folder, listing: Listing, peer_id: PeerId) -> None:
        self._target = target
        self._listing = listing
        self._peer_id = peer_id
        self._umask = current_umask()

    def survey(self, checkpoint: Callable[[], None]) -> list[Request]:
        """What to ask for, after a look at what is there already. Nothing is written.

        Args:
            checkpoint: called again and again; raises an error to stop.

        Raises:
            FilesError: something else is in the way, or there is no room.
        """
        requests: list[Request] = []
        missing: set[int] = set()  # folders that are not there
        for number, entry in enumerate(self._listing.entries):
            checkpoint()
            found = None if entry.parent in missing else self._request(number)
            if entry.size is None:
                if found is None:
                    missing.add(number)
            else:
                requests.append(found or Request(number, entry.size))
        wanted = sum(request.size - request.offset for request in requests)
        if wanted > (free := self._target.free_bytes()):
            raise FilesError(
                f"there is no room for the files: they have {wanted} more bytes, and the folder "
                f"has room for {free}"
            )
        return requests

    def _request(self, number: int) -> Request | None:
        """What to ask for if something of an entry is there, or the folder itself is; else None."""
        entry = self._listing.entries[number]
        try:
            with self._folder_of(entry.parent) as folder:
                found = folder.look_at(entry.name)
                if entry.size is None:
                    if found is not None and not stat.S_ISDIR(found.st_mode):
                        raise self._in_the_way(number)
                    return None if found is None else Request(number, 0)
                if found is not None:
                    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
                        raise self._in_the_way(number)
                    return Request(number, entry.size, entry.size, is_whole=True)
                partial = folder.look_at(partial_name(self._peer_id, entry.name, entry.size))
                if partial is None or not stat.S_ISREG(partial.st_mode):
                    return None
                return Request(number, entry.size, min(partial.st_size, entry.size))
        except OSError as error:
            raise self.failure(number, error) from error

    def make_folders(self, checkpoint: Callable[[], None]) -> None:
        """Make all folders.

        Args:
            checkpoint: called again and again; raises an error to stop.

        Raises:
            FilesError: one cannot be made.
        """
        for number, entry in enumerate(self._listing.entries):
            checkpoint()
            if entry.size is None:
                try:
                    with self._folder_of(entry.parent) as folder:
                        folder.make_folder(entry.name).close()
                except OSError as error:
                    raise self.failure(number, error) from error

    def open_partial(self, number: int) -> PartialFile:
        """The file of an entry, to be written.

        Raises:
            FilesError: it cannot be written.
        """
        entry = self._listing.entries[number]
        assert entry.size is not None
        try:
            folder = self._folder_of(entry.parent)
            try:
                partial = partial_name(self._peer_id, entry.name, entry.size)
                return PartialFile(folder, entry.name, partial)
            except BaseException:
                folder.close()
                raise
        except OSError as error:
            raise self.failure(number, error) from error

    def finish(self, number: int, file: PartialFile, digest: bytes) -> bool:
        """Give the file of an entry its name, its permissions and its age; see PartialFile.

        Raises:
            FileExistsError: something else has the name meanwhile.
            FilesError: the file system refuses.
        """
        entry = self._listing.entries[number]
        try:
            return file.finish(
                digest,
                permissions=entry.permissions,
                modified=entry.modified,
                umask=self._umask,
            )
        except FileExistsError:
            raise
        except OSError as error:
            raise self.failure(number, error) from error

    def has_content(self, number: int, digest: bytes, checkpoint: Callable[[], None]) -> bool:
        """Whether the file that is there has this SHA-256.

        Args:
            number: the entry's.
            digest: the SHA-256.
            checkpoint: called again and again; raises an error to stop.

        Raises:
            FilesError: it cannot be read.
        """
        entry = self._listing.entries[number]
        assert entry.size is not None
        try:
            with self._folder_of(entry.parent) as folder:
                descriptor = folder.open_file(entry.name, os.O_RDONLY)
            try:
                found = checksum_of_beginning(descriptor, entry.size, checkpoint)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self.failure(number, error) from error
        return found is not None and found.digest() == digest

    def failure(self, number: int, error: OSError) -> FilesError:
        """What to tell the user if an entry cannot be dealt with."""
        return FilesError(f"{self._listing.path_of(number)!r} cannot be written: {error.strerror}")

    def _in_the_way(self, number: int) -> FilesError:
        return FilesError(
            f"{self._listing.path_of(number)!r} is here already, and is something else: nothing is "
            "overwritten; move it away, or choose another folder"
        )

    def _folder_of(self, number: int | None) -> Folder:
        """The open folder that an entry is, from the target on; the target itself if None."""
        if number is None:
            return self._target.duplicate()
        entry = self._listing.entries[number]
        with self._folder_of(entry.parent) as parent:
            return parent.open_folder(entry.name)
