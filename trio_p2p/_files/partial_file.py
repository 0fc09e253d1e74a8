"""A file that comes piece by piece, under a name of its own until it is complete and checked.

That name depends on the giving peer, the file's own name and its size: when either program was
killed, the next one finds what has come. Whether that is the beginning of what is offered now is
decided by its checksum.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable

from .._identity.peer_id import PeerId
from .attributes import set_attributes
from .checksum import Checksum, checksum_of_beginning
from .folder import Folder
from .names import RESERVED_PREFIX


def partial_name(peer_id: PeerId, name: str, size: int) -> str:
    """The name of a file that is not complete yet."""
    what = b"\0".join([peer_id.digest, str(size).encode(), name.encode()])
    return f"{RESERVED_PREFIX}{hashlib.sha256(what).hexdigest()[:32]}.part"


class PartialFile:
    """A file that is being written.

    Args:
        folder: the folder that it is in.
        name: the name that it is to have.
        partial: the name that it has until then. The file is made if it does not exist, and is for
            its owner only until it is complete.

    Raises:
        OSError: it cannot be opened, another program writes it, or it is not ours.
    """

    def __init__(self, folder: Folder, name: str, partial: str) -> None:
        self._folder = folder
        self._name = name
        self._partial = partial
        self._descriptor = folder.open_file(partial, os.O_RDWR | os.O_CREAT)
        try:
            self._check()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._checksum = Checksum()

    def _check(self) -> None:
        status = os.fstat(self._descriptor)
        if status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise OSError(None, f"{self._partial} is not what it was made as: remove it")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(None, "another program is receiving it") from None

    def keep(self, length: int, digest: bytes | None, checkpoint: Callable[[], None]) -> bool:
        """Keep the beginning if it has this digest, else nothing.

        Args:
            length: how long the beginning is.
            digest: its SHA-256; None if nothing is to be kept.
            checkpoint: called again and again; raises an error to stop.

        Returns:
            Whether it was kept.
        """
        if digest is not None:
            begun = checksum_of_beginning(self._descriptor, length, checkpoint)
            if begun is not None and begun.digest() == digest:
                self._checksum = begun
                os.ftruncate(self._descriptor, length)
                os.lseek(self._descriptor, length, os.SEEK_SET)
                return True
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return not length

    def write(self, content: memoryview) -> None:
        """Write what comes next."""
        rest = content
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._checksum.add(content)

    def finish(
        self, digest: bytes, *, permissions: int | None, modified: int | None, umask: int
    ) -> bool:
        """Give the file its name, if this is its SHA-256; else remove it.

        Args:
            digest: the SHA-256 of what was given.
            permissions: those that it has at the other side, if they are known.
            modified: when it was last changed there, in nanoseconds since 1970, if that is known.
            umask: what is taken from the permissions.

        Returns:
            Whether it has its name now.

        Raises:
            FileExistsError: something else has it meanwhile.
            OSError: the file system refuses.
        """
        if self._checksum.digest() != digest:
            self._folder.remove(self._partial)
            return False
        self._folder.rename_new(self._partial, self._name)
        # Not before: a partial file without write permission could not be gone on with.
        set_attributes(self._descriptor, permissions, modified, umask)
        return True

    def close(self) -> None:
        """Close it, complete or not; once more does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._folder.close()
