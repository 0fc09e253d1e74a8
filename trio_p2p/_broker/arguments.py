"""What callers of :func:`serve_broker` hand in, checked: each mistake gets a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Any, cast

from .._addresses import Endpoint
from .._errors import LocalProtocolError, shown
from .access import Access, AccessFiles
from .limits import BrokerLimits
from .quota import RelayLimits
from .tls import BrokerTLS, TLSFiles


def check_arguments(
    *, host: object, ports: Iterable[object], relay: object, limits: object
) -> None:
    """Make sure that a broker can listen on these ports of a host, and relay within the limits.

    Raises:
        LocalProtocolError: it cannot.
    """
    for port in ports:
        if type(port) is not int or not 0 <= port < 65536:
            raise LocalProtocolError(f"{shown(port)} is no port: give a number from 0 to 65535")
    hosts = _listed(host)
    if not hosts or not all(isinstance(each, str | bytes | None) for each in hosts):
        raise LocalProtocolError(
            f"{shown(host)} is no host: give a name or an address, a list of such, or None for "
            "all interfaces"
        )
    if not isinstance(relay, RelayLimits | None):
        raise LocalProtocolError(
            f"{shown(relay)} is no value for relay=: give RelayLimits, or None to relay nothing"
        )
    if not isinstance(limits, BrokerLimits):
        raise LocalProtocolError(f"{shown(limits)} is no value for limits=: give BrokerLimits")


def check_reception(*, access: object, tls: object, proxies: object) -> None:
    """Make sure that a broker can receive clients like this.

    Raises:
        LocalProtocolError: it cannot.
    """
    if not isinstance(access, AccessFiles | Access | None):
        raise LocalProtocolError(
            f"{shown(access)} is no value for access=: give AccessFiles, or None to admit all"
        )
    if not isinstance(tls, TLSFiles | BrokerTLS | None):
        raise LocalProtocolError(
            f"{shown(tls)} is no value for tls=: give TLSFiles, or None to speak no TLS"
        )
    if not all(isinstance(each, IPv4Network | IPv6Network) for each in _listed(proxies)):
        raise LocalProtocolError(
            f"{shown(proxies)} is no value for proxies=: give a list of what "
            "ipaddress.ip_network() returns"
        )


def parse_endpoints(name: str, endpoints: Any) -> tuple[Endpoint, ...]:
    """The endpoints that the option of this name lists.

    Raises:
        LocalProtocolError: it lists none, or something else.
    """
    try:
        listed: tuple[Any, ...] = tuple(endpoints)
    except TypeError:  # which is how Python says that it cannot be iterated over
        listed = (endpoints,)
    if not all(isinstance(each, Endpoint) for each in listed):
        raise LocalProtocolError(
            f"{shown(endpoints)} is no value for {name}=: give a list of Endpoint"
        )
    return listed


def _listed(value: object) -> list[object]:
    return [*cast("list[object]", value)] if isinstance(value, list | tuple) else [value]
