"""Endpoints, and what an IP address tells of its host. Pure."""

from __future__ import annotations

import enum
import ipaddress
import socket
from typing import Any, TypeAlias

import attrs

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MIN_PORT = 1024  # below are services, and no port that a system or a NAT has chosen
_NO_ADDRESS = "{!r:.200} is no IP address: give its text, like '192.0.2.1', or an ipaddress object"


def _parse_address(address: str | IPAddress) -> IPAddress:
    given: Any = address  # which may be anything
    if isinstance(given, IPAddress):
        return given
    if not isinstance(given, str):  # and not what else ip_address() takes, like a port
        raise ValueError(_NO_ADDRESS.format(given))
    try:
        return ipaddress.ip_address(given)
    except ValueError:
        raise ValueError(_NO_ADDRESS.format(given)) from None


def _check_port(_endpoint: Endpoint, _attribute: attrs.Attribute[Any], port: object) -> None:
    if type(port) is not int or not 0 <= port < 65536:
        raise ValueError(f"{port!r:.200} is no port: give a number from 0 to 65535")


@attrs.frozen(order=True)
class Endpoint:
    """An IP address and a TCP port, compared by value.

    Attributes:
        address: the IP address, given as an object or as text.
        port: the TCP port, 0 to 65535.

    Raises:
        ValueError: the address or the port is none.
    """

    address: IPAddress = attrs.field(converter=_parse_address)
    port: int = attrs.field(validator=_check_port)

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of sockets that reach this endpoint."""
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6

    @property
    def sockaddr(self) -> tuple[str, int]:
        """The endpoint in the form that socket calls take."""
        return str(self.address), self.port

    def __str__(self) -> str:
        host = str(self.address) if self.address.version == 4 else f"[{self.address}]"
        return f"{host}:{self.port}"


def endpoint_of(sockaddr: Any) -> Endpoint:
    """Convert an address of ``getpeername``, ``getsockname`` or ``getaddrinfo``."""
    address = ipaddress.ip_address(str(sockaddr[0]))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Endpoint(address, int(sockaddr[1]))


def is_public(address: IPAddress) -> bool:
    """Whether the address belongs to the internet, not to a network behind a NAT."""
    return not any(
        address.version == network.version and address in network for network in _NOT_PUBLIC
    )


def is_special(address: IPAddress) -> bool:
    """Whether the address is no single host's: this host's own, one of many hosts, or of none.

    So are IPv6 addresses that stand for IPv4 ones, whatever these are.
    """
    return any(
        address.version == network.version and address in network for network in _NO_SINGLE_HOSTS
    )


class Scope(enum.Enum):
    """From how far away a host can be reached at an address."""

    HOST = "host"
    """From the host itself only: loopback."""
    SITE = "site"
    """From the same private network."""
    INTERNET = "internet"
    """From everywhere."""
    NONE = "none"
    """From nowhere, or not to a single host."""


def scope_of(address: IPAddress) -> Scope:
    """Return from how far away a host can be reached at an address."""
    if address.is_loopback:
        return Scope.HOST
    if is_special(address):
        return Scope.NONE
    return Scope.INTERNET if is_public(address) else Scope.SITE


@attrs.frozen
class Vantage:
    """Where this host stands towards a broker, which says where others are.

    Attributes:
        local: the address that the broker was reached from.
        observed: the address that the broker says it sees this host at; None if it does not say.
        broker: the broker's address, as connected to.
    """

    local: IPAddress
    observed: IPAddress | None
    broker: IPAddress

    def may_dial_untrusted(self, endpoint: Endpoint) -> bool:
        """Whether to connect to an endpoint that the broker, or a peer by way of it, has named.

        An endpoint outside of the internet is dialled only if this host and the broker are in the
        same network: the broker sees this host at the address that this host itself has. The
        broker's word is not enough, as the peer's offer tells it our address: the broker's own
        address has to be one of such a network, too.

        Args:
            endpoint: the endpoint that was named.
        """
        if endpoint.port < MIN_PORT:
            return False
        scope = scope_of(endpoint.address)
        if scope in (Scope.INTERNET, Scope.NONE):
            return scope is Scope.INTERNET
        is_seen_here = self.observed == self.local and scope_of(self.local) is scope
        return is_seen_here and scope_of(self.broker) is scope


def site_of(address: IPAddress) -> IPAddress:
    """Return the part that all addresses of a site share: an IPv4 address, or an IPv6 /64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return ipaddress.ip_network((address, 64), strict=False).network_address


def are_neighbours(one: IPAddress, other: IPAddress) -> bool:
    """Whether two addresses belong to one site or carrier, as far as their prefixes tell."""
    network = ipaddress.ip_network((one, _SITE_PREFIX[one.version]), strict=False)
    return other in network


# ipaddress.is_private counts the documentation networks too, which laboratories use as public.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, between a carrier's NAT and its customers
        "169.254.0.0/16",  # RFC 3927
        "fc00::/7",  # RFC 4193
        "fe80::/10",  # RFC 4291
    )
)
_SITE_PREFIX = {4: 24, 6: 64}  # bits that the addresses of one site or carrier have in common


_NO_SINGLE_HOSTS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network and host (RFC 1122 3.2.1.3)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local (RFC 3927)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112 4), and broadcast
        "::/96",  # unspecified, loopback, and IPv4-compatible (RFC 4291 2.5)
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # translated to IPv4 (RFC 6052)
        "64:ff9b:1::/48",  # the same, by a network's own choice (RFC 8215)
        "100::/64",  # to be discarded (RFC 6666)
        "2001::/32",  # Teredo (RFC 4380)
        "2002::/16",  # 6to4 (RFC 3056)
        "fe80::/10",  # link-local (RFC 4291 2.5.6)
        "fec0::/10",  # what was site-local (RFC 3879)
        "ff00::/8",  # multicast (RFC 4291 2.7)
    )
)
