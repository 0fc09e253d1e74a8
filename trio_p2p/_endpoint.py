"""An IP address and a port: what peers, brokers and NATs know each other by."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, TypeAlias

import attrs

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@attrs.frozen(order=True)
class Endpoint:
    """An IP address and a TCP port, compared by value.

    Attributes:
        address: the IP address; never an IPv4 address in IPv6 clothes.
        port: the TCP port, 1 to 65535.
    """

    address: IPAddress
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of sockets that reach this endpoint."""
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6

    @property
    def sockaddr(self) -> tuple[str, int]:
        """The endpoint as the socket calls want it."""
        return str(self.address), self.port

    def __str__(self) -> str:
        host = str(self.address) if self.address.version == 4 else f"[{self.address}]"
        return f"{host}:{self.port}"


def endpoint_of(sockaddr: Any) -> Endpoint:
    """The endpoint that ``getpeername``, ``getsockname`` or ``getaddrinfo`` speaks of."""
    address = ipaddress.ip_address(str(sockaddr[0]))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Endpoint(address, int(sockaddr[1]))
