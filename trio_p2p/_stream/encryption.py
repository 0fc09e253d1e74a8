"""Encrypts what is to be sent over a path, as far as that is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from .spare_memory import spare_memory_of_this_run
from .steps import steps_of

if TYPE_CHECKING:
    from .tls import TLSEngine

SMALL_BYTES: Final = 2**15  # of ciphertext: to copy it costs less than to have memory ready


class Encryption:
    """What is to be sent and was not taken yet.

    Args:
        engine: encrypts.

    Attributes:
        rest: what was encrypted and not taken; None if all was.
    """

    def __init__(self, engine: TLSEngine) -> None:
        self.rest: memoryview | None = None
        self._engine = engine
        self._steps: Iterator[Sequence[bytes | bytearray | memoryview]] = iter(())
        self._spare = spare_memory_of_this_run()
        self._memory: bytearray | None = None  # where the rest is, if it is not small

    def begin(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send these pieces, when all before them was taken."""
        self._steps = steps_of(pieces)

    def next(self) -> memoryview | None:
        """The ciphertext to send next; None if there is none.

        Raises:
            P2PError: the handshake has not ended, or TLS has.
        """
        if self.rest is None:
            step = next(self._steps, None)
            if step is not None:
                self.rest = self._encrypt(step)
        return self.rest

    def taken(self, count: int) -> None:
        """Drop so many bytes of the rest, which were sent."""
        assert self.rest is not None
        self.rest = self.rest[count:] or None
        if self.rest is None and self._memory is not None:
            self._spare.give_back(self._memory)
            self._memory = None

    def forget(self) -> None:
        """Drop everything: nothing more is sent."""
        self.rest = self._memory = None
        self._steps = iter(())

    def _encrypt(self, step: Sequence[bytes | bytearray | memoryview]) -> memoryview:
        most = self._engine.most_encrypted(step)
        if most < SMALL_BYTES:
            return memoryview(self._engine.encrypt(step))
        self._memory = self._spare.take(most)
        return memoryview(self._memory)[: self._engine.encrypt_into(step, self._memory)]
