"""A simulated TCP socket, as a kernel has it: its options, and what it is bound or connected to."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections import deque
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final

from ..._net.os_errors import error_from
from .._internet.packets import Endpoint, IcmpError
from .outgoing import SEND_BYTES
from .readiness import Readiness
from .stack import ANY, Listener, Stack
from .states import State, nothing
from .tcp import Connection

_MINTTL: Final = (socket.IPPROTO_IP, 21)  # IP_MINTTL
_RECVERR: Final = (socket.IPPROTO_IP, 11)  # IP_RECVERR
_HOPS: Final = (socket.IPPROTO_IP, socket.IP_TTL)
_REUSEPORT: Final = (socket.SOL_SOCKET, socket.SO_REUSEPORT)
_LINGER: Final = (socket.SOL_SOCKET, socket.SO_LINGER)
_ERROR: Final = (socket.SOL_SOCKET, socket.SO_ERROR)
_ACCEPTS: Final = (socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
_INFO: Final = (socket.IPPROTO_TCP, 11)  # TCP_INFO
_USER_TIMEOUT: Final = (socket.IPPROTO_TCP, 18)  # TCP_USER_TIMEOUT, in milliseconds
_UNSENT: Final = (socket.IPPROTO_TCP, 25)  # TCP_NOTSENT_LOWAT
_INFO_BYTES: Final = 168
_ROUND_TRIP: Final = 68  # where it is in TCP_INFO
_USUAL_HOPS: Final = 64
_ICMP_ORIGIN: Final = 2  # SO_EE_ORIGIN_ICMP
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBIIHH4s8x")  # sock_extended_err, and a sockaddr_in


class TcpSocket:
    """A socket.

    Args:
        stack: the host's.
        connection: what it is connected by already, if it was accepted.

    Attributes:
        is_closed: whether it was closed.
        readiness: what tasks wait by.
    """

    def __init__(self, stack: Stack, connection: Connection | None = None) -> None:
        self.is_closed = False
        self.readiness = Readiness(self)
        self._stack = stack
        self._options: dict[tuple[int, int], Any] = {_HOPS: _USUAL_HOPS}
        self._bound: Endpoint | None = None
        self._shares = False
        self._listener: Listener | None = None
        self._connection = connection
        self._errors: deque[tuple[IcmpError, IPv4Address]] = deque(maxlen=16)
        if connection is not None:
            connection.on_change = self.readiness.changed

    # Options

    def set_option(self, level: int, number: int, value: int | bytes) -> None:
        """Set an option; those that mean nothing to the simulation are remembered."""
        self._check_open()
        self._options[level, number] = value
        self._apply()

    def _apply(self) -> None:
        if self._connection is not None:
            outgoing = self._connection.outgoing
            if _USER_TIMEOUT in self._options:
                outgoing.user_timeout = self._options[_USER_TIMEOUT] / 1000
            outgoing.unsent_limit = self._options.get(_UNSENT, SEND_BYTES)

    def option(self, level: int, number: int, count: int = 0) -> int | bytes:
        """The value of an option."""
        self._check_open()
        option = level, number
        if option == _ERROR:
            return 0 if self._connection is None else self._connection.take_error()
        if option == _ACCEPTS:
            return int(self._listener is not None)
        if option == _INFO:
            return self._info()[:count]
        if count:
            raise error_from(errno.ENOPROTOOPT)
        value: int | bytes = self._options.get(option, 0)
        return value

    def _info(self) -> bytes:
        info = bytearray(_INFO_BYTES)
        info[0] = State.CLOSED
        if self._connection is not None:
            info[0] = self._connection.state
            microseconds = int(self._connection.outgoing.round_trip * 1e6)
            info[_ROUND_TRIP : _ROUND_TRIP + 4] = microseconds.to_bytes(4, sys.byteorder)
        return bytes(info)

    # Where it is

    def bind(self, sockaddr: Any) -> None:
        """Have a local address and port."""
        self._check_open()
        wanted = _packed(sockaddr)
        if wanted.address != ANY and wanted.address not in self._stack.addresses:
            raise error_from(errno.EADDRNOTAVAIL)
        self._shares = bool(self._options.get(_REUSEPORT))
        port = self._stack.take_port(wanted.port, shares=self._shares)
        self._bound = Endpoint(wanted.address, port)

    @property
    def local(self) -> tuple[str, int]:
        """What ``getsockname`` gives."""
        self._check_open()
        if self._connection is not None:
            return _sockaddr(self._connection.local)
        return _sockaddr(self._bound or Endpoint(ANY, 0))

    @property
    def remote(self) -> tuple[str, int]:
        """What ``getpeername`` gives."""
        self._check_open()
        connection = self._connection
        if connection is None or connection.state in (State.CLOSED, State.SYN_SENT):
            raise error_from(errno.ENOTCONN)
        return _sockaddr(connection.remote)

    @property
    def peer(self) -> tuple[str, int] | None:
        """Where an accepted connection comes from, even if it has failed meanwhile."""
        return None if self._connection is None else _sockaddr(self._connection.remote)

    # Connecting

    def listen(self, backlog: int) -> None:
        """Let connections come."""
        self._check_open()
        if self._bound is None:
            self.bind(("0.0.0.0", 0))  # noqa: S104 - all addresses are meant
        assert self._bound is not None
        self._listener = Listener(self._bound, backlog, self.readiness.changed)
        self._stack.listen(self._listener)

    def accept(self) -> TcpSocket:
        """The next connection that has come."""
        self._check_open()
        if self._listener is None:
            raise error_from(errno.EINVAL)
        if not self._listener.waiting:
            raise error_from(errno.EAGAIN)
        return TcpSocket(self._stack, self._listener.waiting.popleft())

    def start_connecting(self, sockaddr: Any) -> None:
        """Send a first SYN."""
        self._check_open()
        if self._connection is not None:
            raise error_from(errno.EISCONN)
        remote = _packed(sockaddr)
        if self._bound is None:
            self.bind(("0.0.0.0", 0))  # noqa: S104 - the system chooses
        assert self._bound is not None
        address = self._bound.address
        if address == ANY:
            address = self._stack.source_for(remote.address)
        hops = self._options[_HOPS]
        self._connection = self._stack.connect(
            Endpoint(address, self._bound.port), remote, self, None if hops == _USUAL_HOPS else hops
        )
        self._connection.on_change = self.readiness.changed
        self._apply()

    def hear(self, error: IcmpError, reporter: IPv4Address, hops_left: int) -> bool:
        """See :meth:`.stack.Opener.hear`."""
        if hops_left < self._options.get(_MINTTL, 0):
            return False
        if self._options.get(_RECVERR):
            self._errors.append((error, reporter))
        return True

    def take_icmp_error(self) -> list[tuple[int, int, bytes]]:
        """The first ICMP error that was kept, as ``recvmsg`` has it."""
        self._check_open()
        if not self._errors:
            raise error_from(errno.EAGAIN)
        error, reporter = self._errors.popleft()
        data = _EXTENDED_ERROR.pack(
            errno.EHOSTUNREACH,
            _ICMP_ORIGIN,
            error.type,
            error.code,
            0,
            0,
            0,
            socket.AF_INET,
            0,
            reporter.packed,
        )
        return [(*_RECVERR, data)]

    # Bytes

    @property
    def is_readable(self) -> bool:
        """Whether to read or accept would not wait."""
        if self._listener is not None:
            return bool(self._listener.waiting)
        return self._connection is None or self._connection.is_readable

    @property
    def is_writable(self) -> bool:
        """Whether to write would not wait, or connecting has ended."""
        return self._connection is None or self._connection.is_writable

    def read(self, most: int, *, keeps: bool = False) -> bytes:
        """Receive; BlockingIOError if nothing has come."""
        return self._connected().read(most, keeps=keeps)

    def write(self, data: bytes | memoryview) -> int:
        """Send; BlockingIOError if there is no room."""
        return self._connected().write(data)

    @property
    def room(self) -> int:
        """How many bytes it takes now."""
        return max(0, self._connected().outgoing.room)

    def shut_down(self) -> None:
        """End the direction to the other side."""
        self._connected().shut_down()

    def close(self) -> None:
        """Close it; a connection ends as SO_LINGER says."""
        if self.is_closed:
            return
        resets = self._options.get(_LINGER, b"")[4:] == bytes(4)
        self.is_closed = True
        if self._listener is not None:
            self._stack.stop_listening(self._listener)
        if self._connection is not None:
            self._connection.on_change = nothing
            if resets:
                self._connection.abort()
            else:
                self._connection.close()
        if self._bound is not None:
            self._stack.give_port_back(self._bound.port, shares=self._shares)
        self.readiness.changed()

    def _connected(self) -> Connection:
        self._check_open()
        if self._connection is None:
            raise error_from(errno.ENOTCONN)
        return self._connection

    def _check_open(self) -> None:
        if self.is_closed:
            raise error_from(errno.EBADF)


def _packed(sockaddr: Any) -> Endpoint:
    try:
        return Endpoint(IPv4Address(sockaddr[0] or "0.0.0.0").packed, int(sockaddr[1]))  # noqa: S104
    except AddressValueError:
        raise error_from(errno.EAFNOSUPPORT) from None


def _sockaddr(endpoint: Endpoint) -> tuple[str, int]:
    return str(IPv4Address(endpoint.address)), endpoint.port
