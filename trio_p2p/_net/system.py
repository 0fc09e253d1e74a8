"""The seam between this package and the operating system.

Sockets, names, routes and their news, descriptors, pipes, and the clock that runs in sleep are
reached through a :class:`System`, and in no other way. To see what becomes of a call that fails, of
a host that lacks something, or of a network that is not there at all, derive a class from it and
put an object of that class in use.
"""

from __future__ import annotations

import ctypes
import functools
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio

from .._addresses import Endpoint, IPAddress, endpoint_of
from . import netlink
from .os_errors import error_from, is_under_way
from .routes import KernelRoute, RouteNews

AnySocket: TypeAlias = socket.socket | trio.socket.SocketType

UNKNOWN_ROOM: Final = 65_536  # bytes that a socket is taken to have room for

_SO_MEMINFO: Final = 55  # <asm-generic/socket.h>
_MEMINFO: Final = struct.Struct("9I")  # <linux/sock_diag.h>: SK_MEMINFO_VARS


@functools.cache
def _libc() -> ctypes.PyDLL:
    """The C library, called without releasing the GIL; not every system has it in the process."""
    return ctypes.PyDLL(None, use_errno=True)


class System:
    """The system that this program runs on. Each method is one call, and raises OSError.

    What is done with a socket is a method of the socket itself, but for what Trio has no method
    for: these take Trio's sockets and plain ones alike, and never wait.

    Attributes:
        dice: where jitter and guesses come from, but no secrets.
    """

    # Without a state, so that processes that fork do not pause in step.
    dice: random.Random = random.SystemRandom()

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A plain socket that does not block."""
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        return sock

    def adopt(self, sock: socket.socket) -> trio.socket.SocketType:
        """Turn a plain socket into one of Trio's."""
        return trio.socket.from_stdlib_socket(sock)

    async def open_listeners(
        self, port: int, host: str | bytes | None, backlog: int
    ) -> list[trio.SocketListener]:
        """Listen on a port of all addresses of a host; see :func:`trio.open_tcp_listeners`."""
        return await trio.open_tcp_listeners(port, host=host, backlog=backlog)

    def open_pair(self) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Two ends of one connection within this process."""
        near, far = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return trio.SocketStream(near), trio.SocketStream(far)

    def start_connecting(self, sock: socket.socket, remote: Endpoint) -> None:
        """Send a first SYN, without ever releasing the GIL.

        ``socket.connect`` releases it. Should another thread then be busy, the peer's SYN may
        come before the caller has got it back and restored the socket's hops, and the SYN-ACK
        would die like the SYN.
        """
        port, packed = socket.htons(remote.port), remote.address.packed
        if sock.family == socket.AF_INET:
            address = struct.pack("=HH4s8x", sock.family, port, packed)
        else:
            address = struct.pack("=HHI16sI", sock.family, port, 0, packed, 0)
        if _libc().connect(sock.fileno(), address, len(address)):
            number = ctypes.get_errno()
            if not is_under_way(number):
                raise error_from(number)

    def read_into(self, sock: AnySocket, buffer: memoryview) -> int:
        """Receive at once: how many bytes, 0 at the end; BlockingIOError if none have come."""
        return os.readv(sock.fileno(), (buffer,))

    def read(self, sock: AnySocket, most: int) -> bytes:
        """Receive at once: what has come, nothing at the end; BlockingIOError if none has."""
        return os.read(sock.fileno(), most)

    def write(self, sock: AnySocket, data: bytes | memoryview) -> int:
        """Send at once: how many bytes; BlockingIOError if the socket takes none."""
        return os.write(sock.fileno(), data)

    def room_to_write(self, sock: AnySocket) -> int:
        """How many bytes a socket takes at once, about; 0 if it would not count as writable."""
        try:
            info = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:  # not Linux, or before 4.12
            return UNKNOWN_ROOM
        _, _, _, limit, _, queued, *_ = _MEMINFO.unpack(info)
        room: int = limit - queued
        return room if room > 0 and 2 * room >= queued else 0  # as the kernel's poll has it

    async def wait_readable(self, sock: AnySocket) -> None:
        """Wait until more has come."""
        _check_open(sock)
        await trio.lowlevel.wait_readable(sock)

    async def wait_writable(self, sock: AnySocket) -> None:
        """Wait until there is room, or a connect has ended."""
        _check_open(sock)
        await trio.lowlevel.wait_writable(sock)

    def notify_closing(self, sock: AnySocket) -> None:
        """Wake up the tasks that wait for a socket, with a ClosedResourceError."""
        trio.lowlevel.notify_closing(sock)

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        """The socket addresses of a TCP port of a host, the best first."""
        found = await trio.socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        return [sockaddr for *_, sockaddr in found]

    def find_route(self, remote: Endpoint, source: IPAddress | None = None) -> KernelRoute:
        """The route to an endpoint that would be taken now, if need be from a given address.

        Nothing is sent. An address that is not assigned any more is an error.
        """
        with self.open_socket(remote.family, socket.SOCK_DGRAM) as sock:
            if source is not None:
                sock.bind((str(source), 0))
            sock.connect(remote.sockaddr)
            found = endpoint_of(sock.getsockname()).address
        gateway = netlink.find_gateway(self.open_socket, remote.address, source)
        return KernelRoute(found, gateway)

    def open_route_news(self) -> RouteNews | None:
        """Hear of changes of links, addresses and routes; None where nothing tells of them."""
        return netlink.NetlinkNews.subscribe(self.open_socket)

    def time_since_boot(self) -> float:
        """Seconds by a clock that goes on while the host sleeps; Trio's stands still."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def free_descriptors(self) -> int:
        """How many descriptors this process may open besides those that it has."""
        import resource  # noqa: PLC0415 - POSIX has it, and what only imports this need not

        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = sys.maxsize if soft == resource.RLIM_INFINITY else soft
        try:
            return max(0, limit - len(list(Path("/dev/fd").iterdir())))
        except OSError:  # a container without /proc, say
            return limit // 2

    def raise_descriptor_limit(self) -> None:
        """Let this process open as many descriptors as it may."""
        import resource  # noqa: PLC0415 - see above

        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    @property
    def can_splice(self) -> bool:
        """Whether bytes can go from one socket to another through a pipe, and not through us."""
        return hasattr(os, "splice")  # Linux

    def open_pipe(self) -> tuple[int, int]:
        """A pipe that does not block: what to read from, and what to write to."""
        return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def resize_pipe(self, pipe: int, count: int) -> None:
        """Give a pipe room for so many bytes."""
        import fcntl  # noqa: PLC0415 - see above

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, count)

    def splice_in(self, sock: AnySocket, pipe: int, most: int) -> int:
        """Move what a socket has into a pipe: how many bytes; 0 at the socket's end."""
        return os.splice(sock.fileno(), pipe, most, flags=os.SPLICE_F_NONBLOCK)

    def splice_out(self, pipe: int, sock: AnySocket, most: int) -> int:
        """Move what a pipe holds into a socket, as much as it takes: how many bytes."""
        return os.splice(pipe, sock.fileno(), most, flags=os.SPLICE_F_NONBLOCK)


def _check_open(sock: AnySocket) -> None:
    """Raise what Trio raises if a socket is closed while a task waits for it.

    If it is closed already, Trio lets through a ValueError of epoll, and takes the task to wait.
    """
    if sock.fileno() < 0:
        raise trio.ClosedResourceError("the socket is closed")


_in_use: ContextVar[System] = ContextVar("the system in use", default=System())  # noqa: B039


def current_system() -> System:
    """The system in use in the current context."""
    return _in_use.get()


@contextmanager
def system_in_use(system: System) -> Generator[None]:
    """Put a system in use, for the block and all tasks that begin in it."""
    token = _in_use.set(system)
    try:
        yield
    finally:
        _in_use.reset(token)
