"""How bytes are cut into what is best encrypted in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

# By measurement (benchmarks/streams.py): few calls, and few packets that are not full.
ENCRYPT_BYTES: Final = 2**18


def steps_of(
    pieces: Sequence[bytes | bytearray | memoryview],
) -> Iterator[Sequence[bytes | bytearray | memoryview]]:
    """The pieces, split and grouped into what is best encrypted in one go."""
    total = sum(map(len, pieces))
    if total < 2 * ENCRYPT_BYTES:
        if total:
            yield pieces
        return
    size = -(-total // (total // ENCRYPT_BYTES))  # of all steps alike: none is tiny
    step: list[memoryview] = []
    room = size
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            step.append(rest[:room])
            rest = rest[room:]
            room -= len(step[-1])
            if not room:
                yield step
                step, room = [], size
    if step:
        yield step
