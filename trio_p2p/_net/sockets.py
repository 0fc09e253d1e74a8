"""TCP sockets as traversal wants them: the only place that knows setsockopt.

What held and guarded SYNs are for stands on the concepts page of the documentation.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Final

import trio

from .._addresses import Endpoint, IPAddress, endpoint_of
from .os_errors import error_from, refused_error
from .system import AnySocket, current_system

LISTEN_BACKLOG = 1024

# Linux numbers that the socket module does not name everywhere.
_IP_MINTTL: Final = 21
_IPV6_MINHOPCOUNT: Final = 73
_MSG_ERRQUEUE: Final = 0x2000
_ICMP_ORIGINS: Final = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_TCP_SYN_SENT: Final = 2
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)  # where the system has it
_TCPI_RTT: Final = slice(68, 72)
_TCPI_DELIVERY_RATE = slice(160, 168)

_HOPS = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
# Linux ignores an ICMP error with fewer hops left than this. Over IPv4 it looks at the packet that
# the error quotes, in which Time Exceeded has 0 or 1. Over IPv6 it looks at the error's own packet,
# so that 255 shuts out everything.
_GUARDS = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_MINTTL, 2),
    socket.AF_INET6: (socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, 255),
}
_ERROR_QUEUE = {  # IP_RECVERR, IPV6_RECVERR
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}
_WILDCARD = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104


def open_bound_socket(
    family: socket.AddressFamily, port: int = 0, source: IPAddress | None = None
) -> socket.socket:
    """A non-blocking TCP socket on a port that others opened like this may share.

    Args:
        family: of its addresses.
        port: the local port; any free one if 0.
        source: the local address; as the system sees fit if None.

    Raises:
        OSError: no descriptor or no port is free, or the address is not this host's.
    """
    sock = current_system().open_socket(family, socket.SOCK_STREAM)
    try:
        # On all sockets of the port, before bind: the punch, the listener and the connection to
        # the broker use the same one.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((_WILDCARD[family] if source is None else str(source), port))
    except BaseException:
        sock.close()
        raise
    return sock


def start_connecting(
    remote: Endpoint,
    port: int = 0,
    *,
    source: IPAddress | None = None,
    hops: int | None = None,
    reports_icmp_errors: bool = False,
) -> socket.socket:
    """A socket in SYN_SENT: its first SYN has left from the given local port.

    Args:
        remote: where to connect to.
        port: the local port, which other sockets may share.
        source: the local address; as the system sees fit if None.
        hops: how many hops the first SYN lives; as many as usual if None. The ICMP Time Exceeded
            that it dies of does not harm the socket (a guarded SYN; RFC 5082), and the
            SYN-ACK and retransmitted SYNs to come live as long as usual. An IPv6 socket hears of
            nothing at all until :func:`lower_guard`.
        reports_icmp_errors: let that error harm it after all, and keep it for
            :func:`icmp_error_source`.

    Raises:
        OSError: the SYN could not be sent.
    """
    sock = open_bound_socket(remote.family, port, source)
    try:
        if hops is None:
            current_system().start_connecting(sock, remote)
        else:
            _start_expiring(sock, remote, hops, reports_icmp_errors=reports_icmp_errors)
    except BaseException:
        sock.close()
        raise
    return sock


def _start_expiring(
    sock: socket.socket, remote: Endpoint, hops: int, *, reports_icmp_errors: bool
) -> None:
    """Start to connect by a SYN that dies on the way, or goes all the way without a guard."""
    level, option = _HOPS[sock.family]
    if reports_icmp_errors:
        sock.setsockopt(*_ERROR_QUEUE[sock.family], 1)
    elif not _raise_guard(sock):
        current_system().start_connecting(sock, remote)
        return
    usual = sock.getsockopt(level, option)
    sock.setsockopt(level, option, hops)
    current_system().start_connecting(sock, remote)
    sock.setsockopt(level, option, usual)


def _raise_guard(sock: socket.socket) -> bool:
    """Have a socket ignore that its SYN dies on the way; whether the system can do that."""
    try:
        sock.setsockopt(*_GUARDS[sock.family])
    except OSError:
        return False
    return True


def adopt(sock: socket.socket) -> trio.socket.SocketType:
    """Turn a socket into one of Trio's, once it is connected or listens."""
    return current_system().adopt(sock)


def lower_guard(sock: socket.socket) -> None:
    """Let a guarded IPv6 socket hear again: the error of its SYN has come, or will not."""
    level, option, _ = _GUARDS[socket.AF_INET6]
    with suppress(OSError):  # a system without guards
        sock.setsockopt(level, option, 0)


async def wait_connected(sock: socket.socket) -> None:
    """Wait until a socket in SYN_SENT is connected.

    Raises:
        OSError: it failed; see :func:`outcome_of`.
    """
    await current_system().wait_writable(sock)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise error_from(error)
    if sock.getsockname() == sock.getpeername():
        raise refused_error()  # nothing listens there, and the port happened to be our own


def send_at_once(sock: trio.socket.SocketType, data: bytes) -> int:
    """How many bytes a socket takes without waiting.

    To await ``send`` gives way to all other tasks even if it need not wait. For messages as
    small as ours that costs more than to send them.

    Raises:
        OSError: the connection broke, or is closed.
    """
    try:
        return current_system().write(sock, data)
    except BlockingIOError:
        return 0


def is_answered(sock: socket.socket) -> bool:
    """Whether a connecting socket has got anything from the other side, its SYN at least."""
    return _tcp_info(sock, 1) not in (b"", bytes((_TCP_SYN_SENT,)))


def abort(sock: socket.socket) -> None:
    """Close a socket so that nothing of it lingers; resets the connection if there is one."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def listen_on(family: socket.AddressFamily, port: int) -> trio.socket.SocketType:
    """A socket that listens on a port that others may share.

    Raises:
        OSError: no descriptor is free, or the port is not shared.
    """
    sock = open_bound_socket(family, port)
    try:
        sock.listen(LISTEN_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return adopt(sock)


def detect_dead_peer(sock: AnySocket, seconds: float) -> None:
    """Let sends fail that were not acknowledged for so long, where the system can do that."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def limit_unsent(sock: AnySocket, count: int) -> None:
    """Let the socket take no more while it holds so many unsent bytes, if the system can do that.

    What is said later then need not queue behind megabytes that the network is too slow for.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, count)


_one_endpoint_of = lru_cache(maxsize=256)(endpoint_of)


def local_endpoint(sock: AnySocket) -> Endpoint:
    """The socket's local endpoint: one object for many connections to one listener."""
    return _one_endpoint_of(sock.getsockname())


def remote_endpoint(sock: AnySocket) -> Endpoint:
    """The endpoint that the socket is connected to.

    Raises:
        OSError: it is not, or not any more.
    """
    return endpoint_of(sock.getpeername())


def round_trip(stream: trio.abc.Stream) -> int:
    """The smoothed round trip time of a stream in microseconds; 0 if the system does not say."""
    if not isinstance(stream, trio.SocketStream):
        return 0
    measured = _tcp_info(stream.socket, _TCPI_RTT.stop)[_TCPI_RTT]
    return int.from_bytes(measured, sys.byteorder)


def delivery_rate(sock: AnySocket) -> int:
    """How many bytes per second have arrived lately; 0 if the system does not say."""
    measured = _tcp_info(sock, _TCPI_DELIVERY_RATE.stop)[_TCPI_DELIVERY_RATE]
    return int.from_bytes(measured, sys.byteorder)


def _tcp_info(sock: AnySocket, count: int) -> bytes:
    if _TCP_INFO is None:
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, count)
    except OSError:  # closed meanwhile
        return b""


def icmp_error_source(sock: socket.socket) -> IPAddress | None:
    """Who sent the ICMP error that is first in the socket's queue; None if there is none."""
    try:
        _data, ancillary, _flags, _address = sock.recvmsg(0, 512, _MSG_ERRQUEUE)
    except BlockingIOError:
        return None
    for level, kind, data in ancillary:
        # struct sock_extended_err, then the offender's sockaddr.
        if (level, kind) == _ERROR_QUEUE[sock.family] and data[4] in _ICMP_ORIGINS:
            packed = data[20:24] if sock.family == socket.AF_INET else data[24:40]
            return ipaddress.ip_address(packed)
    return None


async def receive_exactly(sock: trio.socket.SocketType, count: int) -> bytes:
    """Receive so many bytes, fewer only if the stream ends before.

    Raises:
        OSError: the connection broke.
    """
    data = b""
    while len(data) < count and (more := await sock.recv(count - len(data))):
        data += more
    return data
