"""Who may use a file, and when it was last changed: what of that goes with it to another host.

Permissions never go beyond what the umask of the receiving user lets new files have, and bits that
give a program another user's rights are never sent, and refused if they come.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from .messages import MAX_MODIFIED, PERMISSION_BITS

_DEFAULT_PERMISSIONS = 0o666  # of new files, before the umask


def permissions_of(status: os.stat_result) -> int:
    """The permissions of a file, as they are sent."""
    return status.st_mode & PERMISSION_BITS


def modified_of(status: os.stat_result) -> int | None:
    """When a file was last changed, in nanoseconds since 1970; None if that cannot be sent."""
    return status.st_mtime_ns if 0 <= status.st_mtime_ns <= MAX_MODIFIED else None


def current_umask() -> int:
    """The umask of this process. It cannot be read but by changing it for a moment."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def set_attributes(
    descriptor: int, permissions: int | None, modified: int | None, umask: int
) -> None:
    """Have a file of ours be used by others, and be as old, as the other side has it.

    Args:
        descriptor: the file's.
        permissions: those at the other side; None for those of any new file. The owner may read
            the file in any case, as else it could not be compared when it is offered once more.
        modified: when it was last changed, in nanoseconds since 1970; None leaves it as it is.
        umask: of the user.

    Raises:
        OSError: the file system fails.
    """
    if permissions is None:
        permissions = _DEFAULT_PERMISSIONS
    with suppress(PermissionError):  # of a file system that has no permissions, such as FAT
        os.fchmod(descriptor, (permissions | stat.S_IRUSR) & ~umask)
    if modified is not None:
        os.utime(descriptor, ns=(modified, modified))
