"""A TCP connection that is read and written as far as that is possible at once.

:class:`trio.SocketStream` gives way after each call even if it need not wait, when what it has
received is in the buffer already.
"""

from __future__ import annotations

from typing import Final

import trio

from .._net.sockets import delivery_rate, limit_unsent, round_trip
from .._net.system import current_system

# By measurement (benchmarks/streams.py): what each call costs is spread over many bytes.
RECEIVE_BYTES: Final = 2**20
# Freed once, a block teaches glibc to keep blocks of up to this size for later, instead of giving
# them back to the kernel each time, for all of their pages to fault again (mallopt(3), dynamic
# M_MMAP_THRESHOLD). That trebles the price of receiving.
_KEPT_BYTES: Final = 2**22


class Connection:
    """A TCP connection, which from now on is this object's own.

    Args:
        stream: the connection.

    Attributes:
        stream: the argument of this name, to wait with.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._open_socket: trio.socket.SocketType | None = stream.socket
        self._system = current_system()
        self._scratch = scratch_of_this_run()

    def send_at_once(self, data: bytes | memoryview) -> int:
        """Send some bytes; how many the connection takes now.

        Raises:
            OSError: the connection broke.
            trio.ClosedResourceError: it is closed.
        """
        try:
            return self._system.write(self._socket, data)
        except BlockingIOError:
            return 0

    def receive_at_once(self) -> memoryview | None:
        """What has come, in memory that is good until the next checkpoint.

        Returns:
            Nothing at the end; None if nothing has come.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: it is closed.
        """
        try:
            return self._scratch[: self._system.read_into(self._socket, self._scratch)]
        except BlockingIOError:
            return None
        except OSError as error:
            raise broken(error) from error

    async def wait_writable(self) -> None:
        """Wait until there is room for more.

        Raises:
            trio.ClosedResourceError: the connection is closed, perhaps while this waited.
        """
        await self._system.wait_writable(self._socket)

    async def wait_readable(self) -> None:
        """Wait until more has come; like :meth:`wait_writable`."""
        await self._system.wait_readable(self._socket)

    def interrupt(self) -> None:
        """Give each task that waits a ClosedResourceError, but leave the connection open."""
        self._system.notify_closing(self._socket)

    def limit_unsent(self, count: int) -> None:
        """Take no more while so many bytes have not left."""
        if self._open_socket is not None:
            limit_unsent(self._open_socket, count)

    @property
    def round_trip(self) -> float:
        """Seconds to the other end and back, as the kernel has smoothed it; 0 if not known."""
        return 0.0 if self._open_socket is None else round_trip(self.stream) / 1e6

    @property
    def delivery_rate(self) -> int:
        """How many bytes per second have arrived lately; 0 if that is not known."""
        return 0 if self._open_socket is None else delivery_rate(self._open_socket)

    @property
    def is_closed(self) -> bool:
        """Whether this side has closed it."""
        return self._open_socket is None

    def close(self) -> None:
        """Close the connection at once."""
        self._open_socket = None
        self.stream.socket.close()

    @property
    def _socket(self) -> trio.socket.SocketType:
        if self._open_socket is None:
            raise trio.ClosedResourceError("this path is closed: open another stream")
        return self._open_socket


def broken(error: Exception) -> trio.BrokenResourceError:
    """What to raise when a connection is of no use any more."""
    return trio.BrokenResourceError(f"the connection broke: {error}")


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
