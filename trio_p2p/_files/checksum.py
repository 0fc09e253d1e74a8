"""Checksums of files, made while they are read or written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

BLOCK_BYTES = 2**20


class Checksum:
    """The SHA-256 of what was added."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, data: bytes | memoryview) -> None:
        """Add what comes next."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """The 32 bytes."""
        return self._hash.digest()


def checksum_of_beginning(
    descriptor: int, length: int, checkpoint: Callable[[], None]
) -> Checksum | None:
    """The checksum of the first bytes of a file; None if it has fewer.

    Args:
        descriptor: the file's.
        length: how many bytes.
        checkpoint: called again and again; raises an error to stop.

    Raises:
        OSError: they cannot be read.
    """
    checksum = Checksum()
    position = 0
    while position < length:
        checkpoint()
        block = os.pread(descriptor, min(BLOCK_BYTES, length - position), position)
        if not block:
            return None
        checksum.add(block)
        position += len(block)
    return checksum
