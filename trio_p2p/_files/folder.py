"""A folder that files are read from or written into, and never past.

Everything is opened by one name in a folder that is open already, and no link is followed. So it
makes no difference what another program puts in the place of a folder meanwhile.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Self

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe that is opened without this flag waits for its other end.
FILE_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Folder:
    """An open folder. As a context manager it is closed at the end.

    Args:
        descriptor: its descriptor, which is this object's from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def at(cls, path: Path) -> Self:
        """The folder at a path that the user has named: that may lead over links.

        Raises:
            OSError: there is none, or it cannot be opened.
        """
        return cls(os.open(path, _FOLDER_FLAGS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; once more does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def duplicate(self) -> Folder:
        """This folder, opened once more."""
        return Folder(os.dup(self._descriptor))

    def open_folder(self, name: str) -> Folder:
        """A folder in this one.

        Raises:
            OSError: there is none of this name, or it is a link.
        """
        flags = _FOLDER_FLAGS | os.O_NOFOLLOW
        return Folder(os.open(name, flags, dir_fd=self._descriptor))

    def make_folder(self, name: str) -> Folder:
        """A folder in this one, which is made if it does not exist.

        Raises:
            OSError: it cannot be made, or something else has this name.
        """
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=self._descriptor)
        return self.open_folder(name)

    def open_file(self, name: str, flags: int) -> int:
        """The descriptor of a regular file in this folder; one that is made is for its owner only.

        Raises:
            OSError: there is none of this name, or it is none, or a link.
        """
        descriptor = os.open(name, flags | FILE_FLAGS, 0o600, dir_fd=self._descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(None, "it is no regular file")
        return descriptor

    def look_at(self, name: str) -> os.stat_result | None:
        """What has this name, or None; a link itself, not what it leads to."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def rename_new(self, name: str, new_name: str) -> None:
        """Give a file another name, which nothing has yet.

        Raises:
            FileExistsError: something has it.
            OSError: the file system refuses.
        """
        both = {"src_dir_fd": self._descriptor, "dst_dir_fd": self._descriptor}
        try:
            os.link(name, new_name, **both, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: what is replaced is our own empty file
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            os.close(self.open_file(new_name, flags))
            os.rename(name, new_name, **both)  # noqa: PTH104 - as above
        else:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself."""
        os.unlink(name, dir_fd=self._descriptor)

    def free_bytes(self) -> int:
        """How much room there is."""
        status = os.fstatvfs(self._descriptor)
        return status.f_bavail * status.f_frsize

    def names(self) -> list[str]:
        """The names of all that is in it, sorted."""
        return sorted(os.listdir(self._descriptor))  # noqa: PTH208 - as above
