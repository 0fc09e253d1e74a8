"""Systems that lack something: what Linux has and others have not, or what a sandbox hides."""

import errno
import socket
from collections.abc import Callable
from typing import Any

import attrs
import trio

from trio_p2p._net.system import System


@attrs.frozen
class Option:
    """A socket option, by its numbers."""

    level: int
    number: int


IP_MINTTL = Option(socket.IPPROTO_IP, 21)
IP_RECVERR = Option(socket.IPPROTO_IP, 11)
IPV6_MINHOPCOUNT = Option(socket.IPPROTO_IPV6, 73)
IPV6_RECVERR = Option(socket.IPPROTO_IPV6, 25)
TCP_INFO = Option(socket.IPPROTO_TCP, socket.TCP_INFO)
TCP_USER_TIMEOUT = Option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
GUARDS = (IP_MINTTL, IPV6_MINHOPCOUNT)
ERROR_QUEUES = (IP_RECVERR, IPV6_RECVERR)


class LackingSystem(System):
    """This host without something.

    Args:
        options: the socket options that it does not know.
        has_netlink: whether it tells of routes and their changes.
        has_splice: whether bytes can go through a pipe.
        has_proc: whether a process can see its own descriptors.
    """

    def __init__(
        self,
        *options: Option,
        has_netlink: bool = True,
        has_splice: bool = True,
        has_proc: bool = True,
    ) -> None:
        self._options = frozenset(options)
        self._has_netlink = has_netlink
        self._has_splice = has_splice
        self._has_proc = has_proc

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        if family == socket.AF_NETLINK and not self._has_netlink:
            raise OSError(errno.EAFNOSUPPORT, "no such family here")
        sock = _OptionlessSocket(family, kind, protocol)
        sock.setblocking(False)
        sock.missing = self._options
        return sock

    def adopt(self, sock: socket.socket) -> trio.socket.SocketType:
        assert isinstance(sock, _OptionlessSocket)
        real = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        sock.adopted = super().adopt(real)
        return sock.adopted

    @property
    def can_splice(self) -> bool:
        return self._has_splice and super().can_splice

    def open_pipe(self) -> tuple[int, int]:
        assert self._has_splice
        return super().open_pipe()

    def free_descriptors(self) -> int:
        if not self._has_proc:
            raise FileNotFoundError(errno.ENOENT, "no /proc here", "/dev/fd")
        return super().free_descriptors()


class _OptionlessSocket(socket.socket):
    missing: frozenset[Option]
    adopted: trio.socket.SocketType | None = None

    def close(self) -> None:
        super().close()
        if self.adopted is not None:
            self.adopted.close()


def _checked(name: str) -> Callable[..., Any]:
    def call(self: _OptionlessSocket, level: int, number: int, *args: Any) -> Any:
        if Option(level, number) in self.missing:
            raise OSError(errno.ENOPROTOOPT, "no such option here")
        return getattr(socket.socket, name)(self, level, number, *args)

    return call


for _name in ("getsockopt", "setsockopt"):
    setattr(_OptionlessSocket, _name, _checked(_name))
