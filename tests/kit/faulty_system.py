"""A system on which a call fails, is short, or is slow: what becomes of all others?"""

import errno
import os
import socket
import time
from collections import Counter
from typing import Any

import attrs
import trio

from trio_p2p._addresses import Endpoint, IPAddress
from trio_p2p._net.routes import KernelRoute, RouteNews
from trio_p2p._net.system import AnySocket, System

from .passed_on import AskingSocket, AskingTrioSocket

# What each call may fail with on a healthy host, the likeliest first.
PLAUSIBLE: dict[str, tuple[int, ...]] = {
    "accept": (errno.ECONNABORTED, errno.EMFILE, errno.ENOBUFS),
    "bind": (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES),
    "connect": (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENOBUFS),
    "find_route": (errno.ENETUNREACH, errno.EMFILE),
    "free_descriptors": (errno.ENOENT, errno.EMFILE),
    "getpeername": (errno.ENOTCONN,),
    "getsockname": (errno.ENOBUFS,),
    "getsockopt": (errno.ENOPROTOOPT, errno.ENOBUFS),
    "listen": (errno.EADDRINUSE,),
    "open_listeners": (errno.EADDRINUSE,),
    "open_pipe": (errno.EMFILE, errno.ENFILE),
    "open_route_news": (),  # it raises nothing: None is the answer
    "open_socket": (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EAFNOSUPPORT),
    "read": (errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH),
    "read_into": (errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH),
    "recv": (errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH),
    "recvmsg": (errno.ECONNRESET, errno.EAGAIN),
    "resize_pipe": (errno.EPERM,),
    "resolve": (socket.EAI_AGAIN, socket.EAI_NONAME),
    "send": (errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS),
    "setsockopt": (errno.ENOPROTOOPT, errno.EINVAL, errno.ENOBUFS),
    "shutdown": (errno.ENOTCONN,),
    "splice_in": (errno.ECONNRESET, errno.EINVAL),
    "splice_out": (errno.EPIPE, errno.ECONNRESET),
    "start_connecting": (errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EINVAL, errno.EPERM),
    "write": (errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS),
}


@attrs.frozen
class Fault:
    """What is wrong with one call.

    Attributes:
        call: the call's name.
        nth: which one of these it is, from 0; all of them if None.
        error: the errno that it fails with, if it fails.
        is_short: whether it moves one byte at most.
        seconds: for how long it blocks the whole program before it does anything.
    """

    call: str
    nth: int | None = 0
    error: int | None = None
    is_short: bool = False
    seconds: float = 0.0

    def __str__(self) -> str:
        which = "each" if self.nth is None else f"{self.call} {self.nth}"
        what = "short" if self.is_short else f"{self.seconds:g} s"
        return f"{which}: {what if self.error is None else errno.errorcode.get(self.error, '?')}"


class FaultySystem(System):
    """This host, on which some calls are not as they should be.

    Args:
        faults: which ones.
        looks_into_routes: whether a route is not one call, but all that it takes to find it.

    Attributes:
        made: how many calls of each name were made.
        occurred: the faults that have occurred.
    """

    def __init__(self, *faults: Fault, looks_into_routes: bool = False) -> None:
        self.made: Counter[str] = Counter()
        self.occurred: list[Fault] = []
        self._faults = faults
        self._looks_into_routes = looks_into_routes

    def called(self, name: str) -> bool:
        """A call begins: it fails here, or it is told whether it has to be short."""
        number = self.made[name]
        self.made[name] += 1
        is_short = False
        for fault in self._faults:
            if fault.call == name and fault.nth in (None, number):
                self.occurred.append(fault)
                time.sleep(fault.seconds)
                is_short |= fault.is_short
                if fault.error is not None:
                    raise _error(name, fault.error)
        return is_short

    def _ask(self, name: str) -> None:
        self.called(name)

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        self.called("open_socket")
        sock = AskingSocket(family, kind, protocol)
        sock.ask = self._ask
        sock.setblocking(False)
        return sock

    def adopt(self, sock: socket.socket) -> trio.socket.SocketType:
        assert isinstance(sock, AskingSocket)
        real = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        sock.adopted = AskingTrioSocket(super().adopt(real), self._ask)
        return sock.adopted

    async def open_listeners(
        self, port: int, host: str | bytes | None, backlog: int
    ) -> list[trio.SocketListener]:
        self.called("open_listeners")
        listeners = await super().open_listeners(port, host, backlog)
        return [
            trio.SocketListener(AskingTrioSocket(listener.socket, self._ask))
            for listener in listeners
        ]

    def start_connecting(self, sock: socket.socket, remote: Endpoint) -> None:
        self.called("start_connecting")
        super().start_connecting(sock, remote)

    def read(self, sock: AnySocket, most: int) -> bytes:
        return super().read(sock, 1 if self.called("read") else most)

    def read_into(self, sock: AnySocket, buffer: memoryview) -> int:
        return super().read_into(sock, buffer[:1] if self.called("read_into") else buffer)

    def write(self, sock: AnySocket, data: bytes | memoryview) -> int:
        return super().write(sock, data[:1] if self.called("write") else data)

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        self.called("resolve")
        return await super().resolve(host, port, family)

    def find_route(self, remote: Endpoint, source: IPAddress | None = None) -> KernelRoute:
        self.called("find_route")
        if self._looks_into_routes:
            return super().find_route(remote, source)
        return System().find_route(remote, source)

    def open_route_news(self) -> RouteNews | None:
        self.called("open_route_news")
        if self._looks_into_routes:
            return super().open_route_news()
        return System().open_route_news()

    def free_descriptors(self) -> int:
        self.called("free_descriptors")
        return super().free_descriptors()

    def open_pipe(self) -> tuple[int, int]:
        self.called("open_pipe")
        return super().open_pipe()

    def resize_pipe(self, pipe: int, count: int) -> None:
        self.called("resize_pipe")
        super().resize_pipe(pipe, count)

    def splice_in(self, sock: AnySocket, pipe: int, most: int) -> int:
        return super().splice_in(sock, pipe, 1 if self.called("splice_in") else most)

    def splice_out(self, pipe: int, sock: AnySocket, most: int) -> int:
        return super().splice_out(pipe, sock, 1 if self.called("splice_out") else most)


def _error(call: str, number: int) -> OSError:
    if call == "resolve":
        return socket.gaierror(number, "a fault in name resolution")
    return OSError(number, os.strerror(number))
