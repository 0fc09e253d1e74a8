"""What Linux's kernel says of routes, by netlink (rtnetlink(7)).

The kernel is asked for the route that it would take, not for its tables: so policy routing and
several default routes are its business, and a thread in a network namespace of its own gets the
answer that holds there.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable

import trio

from .._addresses import IPAddress
from .os_errors import is_out_of_resources

# linux/netlink.h, linux/rtnetlink.h
_AF_NETLINK = getattr(socket, "AF_NETLINK", -1)  # which no system has
_NETLINK_ROUTE = 0
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, addresses and routes, of IPv4 and IPv6
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST = 1
_RTA_DESTINATION, _RTA_SOURCE, _RTA_GATEWAY = 1, 2, 5
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_ROUTE = struct.Struct("=8BI")  # rtmsg
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_ANSWER_BYTES = 8192
_NEWS_BYTES = 65_536

OpenSocket = Callable[[int, int, int], socket.socket]


def find_gateway(
    open_socket: OpenSocket, destination: IPAddress, source: IPAddress | None = None
) -> IPAddress | None:
    """The first router on the way, as far as there is one, and the system tells.

    Args:
        open_socket: opens a socket of a family, a kind and a protocol.
        destination: where packets go.
        source: the address that they are sent from; as the system sees fit if None.

    Raises:
        OSError: no descriptor is free.
    """
    answer = _ask_for_route(open_socket, destination, source)
    if len(answer) < _HEADER.size or _HEADER.unpack_from(answer)[1] != _RTM_NEWROUTE:
        return None
    return _gateway_of(answer)


def _ask_for_route(
    open_socket: OpenSocket, destination: IPAddress, source: IPAddress | None
) -> bytes:
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    bits = destination.max_prefixlen
    attributes = _attribute(_RTA_DESTINATION, destination.packed)
    if source is not None:
        attributes += _attribute(_RTA_SOURCE, source.packed)
    route = _ROUTE.pack(family, bits, bits if source is not None else 0, 0, 0, 0, 0, 0, 0)
    length = _HEADER.size + len(route) + len(attributes)
    request = _HEADER.pack(length, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + route + attributes
    try:
        with open_socket(_AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
            sock.send(request)
            return sock.recv(_ANSWER_BYTES)  # which is there when send returns
    except OSError as error:
        if is_out_of_resources(error):
            raise
        return b""  # not Linux, or a sandbox


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data


def _gateway_of(answer: bytes) -> IPAddress | None:
    position = _HEADER.size + _ROUTE.size
    while position < len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, position)
        if kind == _RTA_GATEWAY:
            return ipaddress.ip_address(answer[position + _ATTRIBUTE.size : position + length])
        position += (length + 3) & ~3
    return None  # the destination is on our own link, or at the other end of a tunnel


class NetlinkNews:
    """The changes that the kernel tells of; see :class:`~trio_p2p._net.routes.RouteNews`."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def subscribe(cls, open_socket: OpenSocket) -> NetlinkNews | None:
        """Hear of all changes from here on; None where the kernel does not tell."""
        try:
            sock = open_socket(_AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        except OSError:  # not Linux, or no descriptor is free
            return None
        try:
            sock.bind((0, _GROUPS))
        except OSError:  # a sandbox
            sock.close()
            return None
        return cls(sock)

    def is_pending(self) -> bool:
        """Whether something has changed since :meth:`drain`."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        except OSError:  # some news were lost for want of room
            return True

    async def wait(self) -> None:
        """Wait until something has changed; one task at a time."""
        await trio.lowlevel.wait_readable(self._socket)

    def drain(self) -> None:
        """Forget what has changed so far."""
        while True:
            try:
                self._socket.recv(_NEWS_BYTES)
            except BlockingIOError:
                return
            except OSError as error:  # some were lost for want of room: no matter
                if not is_out_of_resources(error):
                    raise

    def close(self) -> None:
        """Hear of nothing more."""
        self._socket.close()
