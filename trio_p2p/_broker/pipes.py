"""What holds the bytes between two sockets: a pipe, or our own memory where there is no pipe.

What is spliced through a pipe never comes into this process's memory, which saves two copies.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TypeAlias

CAN_SPLICE = hasattr(os, "splice")  # Linux

# What a piece has at most. The larger, the fewer tasks are woken for as many bytes; but an
# unprivileged process gets no larger pipes (/proc/sys/fs/pipe-max-size).
PIPE_BYTES = 1 << 20

COPY_BYTES = 65_536  # a piece where splicing is impossible: it is in our memory

_IDLE_PIPES = 16  # to open and enlarge one costs as much as to carry a piece: keep some


class Pipe:
    """A pipe that is empty unless somebody holds it.

    Attributes:
        held: how many bytes are in it.
        is_full_sized: whether it has :data:`PIPE_BYTES`.

    Raises:
        OSError: the system has none for us.
    """

    __slots__ = ("_reading", "_writing", "held", "is_full_sized")

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        self.is_full_sized = False
        # Refused when the pages that a user may have in pipes are spent.
        with suppress(OSError):
            fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self.is_full_sized = True

    def fill(self, source: int, most: int) -> int:
        """Take what a socket has, without waiting: how many bytes; 0 at its end."""
        self.held = os.splice(source, self._writing, most, flags=os.SPLICE_F_NONBLOCK)
        return self.held

    def drain(self, target: int) -> None:
        """Give a socket as much of what is held as it takes without waiting."""
        self.held -= os.splice(self._reading, target, self.held, flags=os.SPLICE_F_NONBLOCK)

    def close(self) -> None:
        """Close both ends, and forget what is held."""
        os.close(self._reading)
        os.close(self._writing)


class Buffer:
    """The same in our memory."""

    __slots__ = ("_data",)

    is_full_sized = False

    def __init__(self) -> None:
        self._data = memoryview(b"")

    @property
    def held(self) -> int:
        """How many bytes are in it."""
        return len(self._data)

    def fill(self, source: int, most: int) -> int:
        """Take what a socket has, without waiting: how many bytes; 0 at its end."""
        self._data = memoryview(os.read(source, min(most, COPY_BYTES)))
        return len(self._data)

    def drain(self, target: int) -> None:
        """Give a socket as much of what is held as it takes without waiting."""
        self._data = self._data[os.write(target, self._data) :]

    def close(self) -> None:
        """Forget what is held."""


Carrier: TypeAlias = Pipe | Buffer


class CarrierPool:
    """Lends carriers to whoever has bytes to carry just now."""

    def __init__(self) -> None:
        self._idle: list[Carrier] = []

    def take(self) -> Carrier:
        """An empty carrier, the best that there is."""
        if self._idle:
            return self._idle.pop()
        if CAN_SPLICE:
            with suppress(OSError):  # no descriptors left
                return Pipe()
        return Buffer()

    def put_back(self, carrier: Carrier) -> None:
        """Take back a carrier."""
        # A small pipe would slow down whoever has it next; one that holds something is spoilt.
        if carrier.is_full_sized and not carrier.held and len(self._idle) < _IDLE_PIPES:
            self._idle.append(carrier)
        else:
            carrier.close()

    def close(self) -> None:
        """Close what nobody holds."""
        while self._idle:
            self._idle.pop().close()
