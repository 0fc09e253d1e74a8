"""How far a transfer has come, for a display. Pure."""

from __future__ import annotations

import attrs


@attrs.define
class Tally:
    """Counts that grow while files are given or taken.

    Attributes:
        files: how many files there are.
        size: how many bytes all of them have.
        files_done: how many files have come to their end.
        moved: how many bytes have passed over the stream.
        kept: how many bytes did not have to, as they were there already.
    """

    files: int = 0
    size: int = 0
    files_done: int = 0
    moved: int = 0
    kept: int = 0

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return max(self.size - self.moved - self.kept, 0)
