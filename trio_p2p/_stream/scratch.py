"""The memory that paths receive into, and why it is there only once.

Buffers of its own would cost each idle connection half a mebibyte.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from .tls import RECORD_BYTES

# By measurement (benchmarks/streams.py): many bytes per call, and still all of them in the cache.
RECEIVE_BYTES: Final = 2**19
# Freed once, a block teaches glibc to keep blocks of up to this size for later, instead of giving
# them back to the kernel each time, for all of their pages to fault again (mallopt(3), dynamic
# M_MMAP_THRESHOLD). That trebles the price of copying 256 KiB.
_KEPT_BYTES: Final = 2**20


@attrs.frozen
class Scratch:
    """Buffers that all paths share: nothing may stay in them beyond a checkpoint.

    Attributes:
        ciphertext: where a path receives to.
        plaintext: where it decrypts that to; with room for what was left over before.
    """

    ciphertext: memoryview
    plaintext: memoryview

    @classmethod
    def of_this_run(cls) -> Scratch:
        """The one of the Trio run that this is called in; other threads have others."""
        try:
            scratch = _scratch.get()
        except LookupError:
            bytearray(_KEPT_BYTES)
            sizes = RECEIVE_BYTES, RECEIVE_BYTES + RECORD_BYTES
            scratch = cls(*(memoryview(bytearray(size)) for size in sizes))
            _scratch.set(scratch)
        return scratch


_scratch: trio.lowlevel.RunVar[Scratch] = trio.lowlevel.RunVar("the scratch of this run")
