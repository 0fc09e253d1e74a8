"""What callers of :func:`serve_broker` hand in, checked: each mistake gets a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._addresses import Endpoint
from .._errors import LocalProtocolError, shown
from .quota import RelayLimits


def check_arguments(*, host: object, ports: Iterable[object], relay: object) -> None:
    """Make sure that a broker can listen on these ports of a host, and relay within the limits.

    Raises:
        LocalProtocolError: it cannot.
    """
    for port in ports:
        if type(port) is not int or not 0 <= port < 65536:
            raise LocalProtocolError(f"{shown(port)} is no port: give a number from 0 to 65535")
    if not isinstance(host, str | bytes | None):
        raise LocalProtocolError(
            f"{shown(host)} is no host: give a name or an address, or None for all interfaces"
        )
    if not isinstance(relay, RelayLimits | None):
        raise LocalProtocolError(
            f"{shown(relay)} is no value for relay=: give RelayLimits, or None to relay nothing"
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
