"""Finds the router on the way from this host to others, and opens the sockets to talk to it."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

import trio

from .._addresses import Endpoint, IPAddress
from .routes import SOMEWHERE, KernelRoute
from .system import current_system


def find_route(remote: Endpoint, source: IPAddress | None = None) -> KernelRoute:
    """The route to an endpoint that the system would take now.

    Args:
        remote: the endpoint.
        source: the address that packets are sent from; as the system sees fit if None.

    Raises:
        OSError: there is none, the address is not assigned, or no descriptor is free.
    """
    return current_system().find_route(remote, source)


def find_default_gateway() -> IPv4Address | None:
    """The router that leads to the internet; None if there is none, or the system does not tell."""
    try:
        gateway = find_route(SOMEWHERE).gateway
    except OSError:
        return None
    return gateway if isinstance(gateway, IPv4Address) else None


def open_connected_datagram_socket(remote: Endpoint) -> trio.socket.SocketType:
    """A UDP socket that exchanges datagrams with one endpoint only, and hears of its ICMP errors.

    Raises:
        OSError: there is no route, or no descriptor is free.
    """
    return current_system().adopt(_connect(remote))


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
    return find_route(remote).source


def _connect(remote: Endpoint) -> socket.socket:
    sock = current_system().open_socket(remote.family, socket.SOCK_DGRAM)
    try:
        sock.connect(remote.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def open_multicast_listener(port: int) -> trio.socket.SocketType | None:
    """A UDP socket for what is sent to all hosts of the network (224.0.0.1) at a port.

    It shares the port with other programs that allow that. The hosts' own group is not joined, as
    every host is a member always. None if another program has the port for itself.
    """
    sock = current_system().open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("", port))
    except OSError:
        sock.close()
        return None
    return current_system().adopt(sock)
