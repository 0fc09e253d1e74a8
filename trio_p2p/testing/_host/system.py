"""The system that a simulated host is to programs on it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final

import trio

from ..._addresses import Endpoint, IPAddress
from ..._net.os_errors import error_from
from ..._net.routes import KernelRoute, RouteNews
from ..._net.system import AnySocket, System
from .stack import Stack
from .tcp_socket import TcpSocket
from .views import PlainSocket, TrioSocket

DESCRIPTORS: Final = 65_536  # that a program may open, as far as it is asked


class News:
    """That a host has moved, for one that has subscribed to it."""

    def __init__(self, forget: Callable[[News], object]) -> None:
        self._forget = forget
        self._is_pending = False
        self._waiting = trio.lowlevel.ParkingLot()

    def tell(self) -> None:
        """The host has moved."""
        self._is_pending = True
        self._waiting.unpark_all()

    def is_pending(self) -> bool:
        """Whether the host has moved since :meth:`drain`."""
        return self._is_pending

    async def wait(self) -> None:
        """Wait until the host has moved."""
        await trio.lowlevel.checkpoint()
        while not self._is_pending:
            await self._waiting.park()

    def drain(self) -> None:
        """Forget that the host has moved."""
        self._is_pending = False

    def close(self) -> None:
        """Hear of nothing more."""
        self._forget(self)


class SimulatedSystem(System):
    """What can be done with simulated sockets, whichever host they are of."""

    def adopt(self, sock: socket.socket) -> trio.socket.SocketType:
        """See :meth:`.System.adopt`."""
        return TrioSocket(_inner(sock))

    def start_connecting(self, sock: socket.socket, remote: Endpoint) -> None:
        """See :meth:`.System.start_connecting`."""
        _inner(sock).start_connecting(remote.sockaddr)

    def read_into(self, sock: AnySocket, buffer: memoryview) -> int:
        """See :meth:`.System.read_into`."""
        data = _inner(sock).read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, sock: AnySocket, most: int) -> bytes:
        """See :meth:`.System.read`."""
        return _inner(sock).read(most)

    def write(self, sock: AnySocket, data: bytes | memoryview) -> int:
        """See :meth:`.System.write`."""
        return _inner(sock).write(data)

    def room_to_write(self, sock: AnySocket) -> int:
        """See :meth:`.System.room_to_write`."""
        return _inner(sock).room

    async def wait_readable(self, sock: AnySocket) -> None:
        """See :meth:`.System.wait_readable`."""
        await _inner(sock).readiness.wait_readable()

    async def wait_writable(self, sock: AnySocket) -> None:
        """See :meth:`.System.wait_writable`."""
        await _inner(sock).readiness.wait_writable()

    def notify_closing(self, sock: AnySocket) -> None:
        """See :meth:`.System.notify_closing`."""
        _inner(sock).readiness.interrupt()

    def time_since_boot(self) -> float:
        """Trio's clock: no host ever sleeps."""
        return trio.current_time()

    def free_descriptors(self) -> int:
        """As many as a program could want."""
        return DESCRIPTORS

    def raise_descriptor_limit(self) -> None:
        """There is none."""

    @property
    def can_splice(self) -> bool:
        """No: there are no descriptors."""
        return False


class Nowhere(SimulatedSystem):
    """The system of what runs beside a memory network, and on none of its hosts."""

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Refuse it."""
        raise _nowhere()

    async def open_listeners(
        self, port: int, host: str | bytes | None, backlog: int
    ) -> list[trio.SocketListener]:
        """Refuse it."""
        raise _nowhere()

    def open_pair(self) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Refuse it."""
        raise _nowhere()

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        """Refuse it."""
        raise _nowhere()

    def find_route(self, remote: Endpoint, source: IPAddress | None = None) -> KernelRoute:
        """Refuse it."""
        raise _nowhere()

    def open_route_news(self) -> RouteNews | None:
        """Refuse it."""
        raise _nowhere()


class HostSystem(SimulatedSystem):
    """A host of the memory network.

    Args:
        stack: its TCP.
        find_name: the address of a host by its name; raises LookupError.
    """

    def __init__(self, stack: Stack, find_name: Callable[[str], IPv4Address]) -> None:
        self.dice = stack.random
        self._stack = stack
        self._find_name = find_name
        self._news: set[News] = set()

    def tell_of_move(self) -> None:
        """Tell all that want to know that the host is elsewhere."""
        for news in self._news:
            news.tell()

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A simulated TCP socket over IPv4; there are no others."""
        if family != socket.AF_INET:
            raise error_from(errno.EAFNOSUPPORT)
        if kind != socket.SOCK_STREAM or protocol not in (0, socket.IPPROTO_TCP):
            raise error_from(errno.EPROTONOSUPPORT)
        return PlainSocket(TcpSocket(self._stack))

    async def open_listeners(
        self, port: int, host: str | bytes | None, backlog: int
    ) -> list[trio.SocketListener]:
        """See :meth:`.System.open_listeners`."""
        if host == "::":
            raise error_from(errno.EAFNOSUPPORT)
        [sockaddr] = await self.resolve(host or "0.0.0.0", port, socket.AF_INET)  # noqa: S104
        inner = TcpSocket(self._stack)
        inner.bind(sockaddr)
        inner.listen(backlog)
        return [trio.SocketListener(TrioSocket(inner))]

    def open_pair(self) -> tuple[trio.SocketStream, trio.SocketStream]:
        """See :meth:`.System.open_pair`."""
        near, far = (TrioSocket(TcpSocket(self._stack, end)) for end in self._stack.join())
        return trio.SocketStream(near), trio.SocketStream(far)

    async def resolve(self, host: str | bytes, port: int, family: int) -> list[Any]:
        """The address of a host of the network, by name or as it is."""
        await trio.lowlevel.checkpoint()
        name = host.decode("ascii") if isinstance(host, bytes) else host
        if family == socket.AF_INET6:
            raise socket.gaierror(socket.EAI_NONAME, "the memory network has IPv4 only")
        try:
            address = IPv4Address(name)
        except AddressValueError:
            try:
                address = self._find_name(name)
            except LookupError:
                raise socket.gaierror(
                    socket.EAI_NONAME, f"no host of the memory network has the name {name!r}"
                ) from None
        return [(str(address), port)]

    def find_route(self, remote: Endpoint, source: IPAddress | None = None) -> KernelRoute:
        """See :meth:`.System.find_route`; no router is told of, so none is asked to map ports."""
        if not isinstance(remote.address, IPv4Address) or remote.address.is_multicast:
            raise error_from(errno.ENETUNREACH)
        found = IPv4Address(self._stack.source_for(remote.address.packed))
        if source is not None:
            if source.packed not in self._stack.addresses:
                raise error_from(errno.EADDRNOTAVAIL)
            found = IPv4Address(source.packed)
        return KernelRoute(found, None)

    def open_route_news(self) -> RouteNews | None:
        """See :meth:`.System.open_route_news`."""
        news = News(self._news.discard)
        self._news.add(news)
        return news


def _nowhere() -> RuntimeError:
    return RuntimeError(
        "this runs beside a memory network, and on none of its hosts: run it by "
        "MemoryHost.run, or open the peer by MemoryHost.open_peer"
    )


def _inner(sock: AnySocket) -> TcpSocket:
    if isinstance(sock, PlainSocket | TrioSocket):
        return sock.inner
    raise TypeError(f"{sock!r} is no socket of the memory network")
