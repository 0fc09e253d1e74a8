"""The memory that paths receive into, and why it is there only once.

Buffers of its own would cost each idle connection a mebibyte.
"""

from __future__ import annotations

from typing import Final

import trio

# By measurement (benchmarks/streams.py): what each call costs is spread over many bytes.
RECEIVE_BYTES: Final = 2**20
# Freed once, a block teaches glibc to keep blocks of up to this size for later, instead of giving
# them back to the kernel each time, for all of their pages to fault again (mallopt(3), dynamic
# M_MMAP_THRESHOLD). That trebles the price of receiving.
_KEPT_BYTES: Final = 2**22


def scratch_of_this_run() -> memoryview:
    """Memory that all paths of a Trio run share: nothing may stay in it beyond a checkpoint."""
    try:
        return _scratch.get()
    except LookupError:
        bytearray(_KEPT_BYTES)
        scratch = memoryview(bytearray(RECEIVE_BYTES))
        _scratch.set(scratch)
        return scratch


_scratch: trio.lowlevel.RunVar[memoryview] = trio.lowlevel.RunVar("the scratch of this run")
