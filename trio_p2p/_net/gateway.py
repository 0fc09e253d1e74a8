"""Finds the way from this host to others, the router on it, and the sockets to talk to that.

The kernel is asked for the route that it would take, not for its tables: so policy routing and
several default routes are its business, and a thread in a network namespace of its own gets the
answer that holds there.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import attrs
import trio

from .._addresses import Endpoint, IPAddress
from .sockets import is_out_of_resources, local_endpoint

# Where routes to the internet should lead. No packet goes there.
SOMEWHERE: Final = Endpoint(IPv4Address("1.1.1.1"), 443)
SOMEWHERE_IPV6: Final = Endpoint(IPv6Address("2606:4700:4700::1111"), 443)

# linux/rtnetlink.h
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST = 1
_RTA_DESTINATION, _RTA_GATEWAY = 1, 5
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_ROUTE = struct.Struct("=8BI")  # rtmsg
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_MESSAGE_BYTES = 8192


@attrs.frozen
class Route:
    """How packets get from this host to an endpoint.

    Attributes:
        source: the address that they are sent from.
        gateway: the router that they go to first; None if there is none, or the system does not
            tell.
    """

    source: IPAddress
    gateway: IPAddress | None


def find_route(remote: Endpoint) -> Route:
    """The route to an endpoint that the kernel would take now.

    Raises:
        OSError: there is none, or no descriptor is free.
    """
    return Route(local_address_towards(remote), _gateway_towards(remote.address))


def find_default_gateway() -> IPv4Address | None:
    """The router that leads to the internet; None if there is none, or the system does not tell."""
    try:
        gateway = _gateway_towards(SOMEWHERE.address)
    except OSError:
        return None
    return gateway if isinstance(gateway, IPv4Address) else None


def _gateway_towards(destination: IPAddress) -> IPAddress | None:
    """The first router on the way, as far as there is one, and the system tells.

    Raises:
        OSError: no descriptor is free.
    """
    answer = _ask_kernel_for_route(destination)
    if len(answer) < _HEADER.size or _HEADER.unpack_from(answer)[1] != _RTM_NEWROUTE:
        return None
    return _gateway_of(answer)


def _ask_kernel_for_route(destination: IPAddress) -> bytes:
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    packed = destination.packed
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _RTA_DESTINATION) + packed
    route = _ROUTE.pack(family, destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    length = _HEADER.size + len(route) + len(attribute)
    request = _HEADER.pack(length, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + route + attribute
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.setblocking(False)  # the kernel has answered when send returns
            sock.send(request)
            return sock.recv(_MESSAGE_BYTES)
    except AttributeError:  # not Linux
        return b""
    except OSError as error:
        if is_out_of_resources(error):
            raise
        return b""  # a sandbox


def _gateway_of(answer: bytes) -> IPAddress | None:
    position = _HEADER.size + _ROUTE.size
    while position < len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, position)
        if kind == _RTA_GATEWAY:
            return ipaddress.ip_address(answer[position + _ATTRIBUTE.size : position + length])
        position += (length + 3) & ~3
    return None  # the destination is on our own link, or at the other end of a tunnel


def open_connected_datagram_socket(remote: Endpoint) -> trio.socket.SocketType:
    """A UDP socket that exchanges datagrams with one endpoint only, and hears of its ICMP errors.

    Raises:
        OSError: there is no route, or no descriptor is free.
    """
    return trio.socket.from_stdlib_socket(_connect(remote))


def send_datagram_at_once(remote: Endpoint, data: bytes) -> None:
    """Send a datagram without waiting for anything, not even for an answer.

    Raises:
        OSError: it could not be sent.
    """
    with _connect(remote) as sock:
        sock.send(data)


def local_address_towards(remote: Endpoint) -> IPAddress:
    """The address that this host sends from to an endpoint. Nothing is sent.

    Raises:
        OSError: there is no route, or no descriptor is free.
    """
    with _connect(remote) as sock:
        return local_endpoint(sock).address


def _connect(remote: Endpoint) -> socket.socket:
    sock = socket.socket(remote.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(remote.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def open_multicast_listener(port: int) -> trio.socket.SocketType | None:
    """A UDP socket for what is sent to all hosts of the network (224.0.0.1) at a port.

    It shares the port with other programs that allow that. The hosts' own group is not joined, as
    every host is a member always. None if somebody else has the port for himself.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("", port))
    except OSError:
        sock.close()
        return None
    return trio.socket.from_stdlib_socket(sock)
