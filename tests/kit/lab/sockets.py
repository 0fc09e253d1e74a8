"""Sockets for looking at NATs: which connections come about, and what ends the others."""

import errno
import select
import socket
from ipaddress import IPv4Address

from trio_p2p._lab.networks import Host

ANSWER_SECONDS = 60.0  # until something that has to come fails its test
SILENCE_SECONDS = 0.1  # without an answer where there shall be none
# linux/in.h
_IP_RECVERR = 11
_IP_MINTTL = 21
_FULL_TTL = 64

Endpoint = tuple[str, int]


def make_socket(host: Host, port: int = 0) -> socket.socket:
    """A socket of the host, bound to a port that others may share."""

    def make() -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((str(host.host_address), port))
        return made

    return host.host.call(make)


def make_listener(host: Host, port: int = 0) -> socket.socket:
    listener = make_socket(host, port)
    listener.listen()
    return listener


def endpoint_of(host: Host, bound: socket.socket) -> Endpoint:
    """Where the internet finds a socket, as its port is kept."""
    return str(host.public_address), bound.getsockname()[1]


def dial(host: Host, target: Endpoint, *, port: int = 0) -> int:
    """What a connection attempt ends with: 0 or an errno."""
    with make_socket(host, port) as dialler:
        return wait_connected(start_connecting(dialler, target))


def start_connecting(
    dialler: socket.socket, target: Endpoint, *, ttl: int = _FULL_TTL, min_ttl: int = 0
) -> socket.socket:
    """Send a SYN with a TTL; what comes later has the full one."""
    dialler.setblocking(False)
    dialler.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    dialler.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, min_ttl)
    assert dialler.connect_ex(target) == errno.EINPROGRESS
    dialler.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _FULL_TTL)
    return dialler


def wait_connected(dialler: socket.socket, seconds: float = ANSWER_SECONDS) -> int:
    _, writable, _ = select.select([], [dialler], [], seconds)
    if not writable:
        return errno.ETIMEDOUT
    return dialler.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def ends_with(dialler: socket.socket, outcome: int) -> bool:
    """Whether a connection attempt ends with 0 or an errno, or with ETIMEDOUT not at all.

    What has to come is waited for, however long it takes; its absence is seen for some time only.
    """
    seconds = SILENCE_SECONDS if outcome == errno.ETIMEDOUT else ANSWER_SECONDS
    return wait_connected(dialler, seconds) == outcome


def dial_ends_with(host: Host, target: Endpoint, outcome: int, *, port: int = 0) -> bool:
    """The same, of a new attempt."""
    with make_socket(host, port) as dialler:
        return ends_with(start_connecting(dialler, target), outcome)


def offender(host: Host, target: Endpoint, ttl: int) -> IPv4Address | None:
    """Who reports that a SYN has died on the way; None if the connection comes about."""
    with make_socket(host) as dialler:
        dialler.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        error = wait_connected(start_connecting(dialler, target, ttl=ttl))
        if error == 0:
            return None
        assert error == errno.EHOSTUNREACH
        _, [(_, _, report)], _, _ = dialler.recvmsg(0, 512, socket.MSG_ERRQUEUE)
        # struct sock_extended_err, and the offender as a struct sockaddr_in
        return IPv4Address(report[20:24])


def exchange(one: socket.socket, other: socket.socket) -> None:
    """Send something each way through a connection."""
    for sending, receiving in [(one, other), (other, one)]:
        sending.setblocking(True)
        sending.send(b"hello")
        receiving.settimeout(ANSWER_SECONDS)
        assert receiving.recv(5) == b"hello"
