"""What holds the bytes between two sockets: a pipe, or our own memory where there is no pipe.

What is spliced through a pipe never comes into this process's memory, which saves two copies.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypeAlias

from .._net.system import AnySocket, System

# Bytes of a piece, at most. The larger it is, the fewer tasks are woken for as many bytes; but an
# unprivileged process gets no larger pipes (/proc/sys/fs/pipe-max-size).
PIPE_BYTES = 1 << 20

COPY_BYTES = 65_536  # a piece where splicing is impossible: it is in our memory

# Pipes that circuits may hold while they wait for peers to read. An unprivileged user gets 64 of
# full size (/proc/sys/fs/pipe-user-pages-soft); all others are small, and slow.
MAX_HELD = 16

MIN_ROOM = 4096  # bytes that a writable socket is taken to have room for, if it does not say
_IDLE_PIPES = 16  # to open and enlarge one costs as much as to carry a piece: keep some


class Pipe:
    """A pipe that is empty unless it is lent.

    Attributes:
        held: how many bytes are in the pipe.
        is_full_sized: whether it has :data:`PIPE_BYTES`.

    Raises:
        OSError: the system has none for us.
    """

    __slots__ = ("_reading", "_system", "_writing", "held", "is_full_sized")

    def __init__(self, system: System) -> None:
        self._system = system
        self._reading, self._writing = system.open_pipe()
        self.held = 0
        self.is_full_sized = False
        # Refused when the pages that a user may have in pipes are spent.
        with suppress(OSError):
            system.resize_pipe(self._writing, PIPE_BYTES)
            self.is_full_sized = True

    def fill(self, source: AnySocket, most: int) -> int:
        """Take what a socket has, without waiting: how many bytes; 0 at its end."""
        self.held = self._system.splice_in(source, self._writing, most)
        return self.held

    def drain(self, target: AnySocket) -> None:
        """Give a socket as much of what is held as it takes without waiting."""
        self.held -= self._system.splice_out(self._reading, target, self.held)

    def take_rest(self) -> memoryview:
        """Take what is left into our memory, so that the pipe can be lent to another circuit."""
        if not self.held:
            return memoryview(b"")
        pieces: list[bytes] = []
        while self.held:
            pieces.append(os.read(self._reading, self.held))
            self.held -= len(pieces[-1])
        return memoryview(b"".join(pieces))

    def close(self) -> None:
        """Close both ends, and forget what is held."""
        os.close(self._reading)
        os.close(self._writing)


class Buffer:
    """The same in our memory."""

    __slots__ = ("_data", "_system")

    is_full_sized = False

    def __init__(self, system: System) -> None:
        self._system = system
        self._data = memoryview(b"")

    @property
    def held(self) -> int:
        """How many bytes are in it."""
        return len(self._data)

    def fill(self, source: AnySocket, most: int) -> int:
        """Take what a socket has, without waiting: how many bytes; 0 at its end."""
        data = memoryview(bytearray(min(most, COPY_BYTES)))
        self._data = data[: self._system.read_into(source, data)]
        return len(self._data)

    def drain(self, target: AnySocket) -> None:
        """Give a socket as much of what is held as it takes without waiting."""
        self._data = self._data[self._system.write(target, self._data) :]

    def take_rest(self) -> memoryview:
        """Take what is left."""
        rest, self._data = self._data, memoryview(b"")
        return rest

    def close(self) -> None:
        """Forget what is held."""


Carrier: TypeAlias = Pipe | Buffer


class PipePool:
    """Lends carriers to circuits that have bytes to carry just now.

    Args:
        system: whose pipes and sockets these are.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._idle: list[Carrier] = []
        self._lent = 0

    @property
    def are_scarce(self) -> bool:
        """Whether so many are lent that no circuit may hold one while its target does not read."""
        return self._lent >= MAX_HELD

    async def wait_room(self, target: AnySocket) -> int:
        """How many bytes a socket takes, as soon as it takes some.

        What it does not take can stay where it is. To ask costs a little, so it is worth it only
        while carriers are scarce.
        """
        room = self._system.room_to_write(target)
        if not room:
            await self._system.wait_writable(target)
            room = max(MIN_ROOM, self._system.room_to_write(target))
        return room

    def take(self) -> Carrier:
        """An empty carrier, the best that there is."""
        self._lent += 1
        if self._idle:
            return self._idle.pop()
        if self._system.can_splice:
            with suppress(OSError):  # no descriptors left
                return Pipe(self._system)
        return Buffer(self._system)

    def put_back(self, carrier: Carrier) -> None:
        """Take back a carrier."""
        self._lent -= 1
        # A small pipe would slow down what has it next; one that holds something is spoilt.
        if carrier.is_full_sized and not carrier.held and len(self._idle) < _IDLE_PIPES:
            self._idle.append(carrier)
        else:
            carrier.close()

    def close(self) -> None:
        """Close what is not lent."""
        while self._idle:
            self._idle.pop().close()
