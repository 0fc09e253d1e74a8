"""Checks of fields that several messages have: each returns the value or raises."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .._addresses import Endpoint

Check: TypeAlias = Callable[[Any], Any]

_IPV4_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96: an IPv4 address has one form here


def check_integer(minimum: int, maximum: int) -> Check:
    """A check for integers from a minimum to a maximum."""

    def check(value: Any) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise ValueError(f"not an integer from {minimum} to {maximum}")
        return value

    return check


def check_bytes(length: int) -> Check:
    """A check for so many bytes."""

    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise ValueError(f"not {length} bytes")
        return value

    return check


def check_member(kind: type[enum.StrEnum], what: str) -> Check:
    """A check for the members of an enum, of which only this version's are known."""
    known = {member.value: member for member in kind}

    def check(value: Any) -> enum.StrEnum:
        # Not by the enum's own lookup: its error holds a repr of whatever the other side sent.
        if type(value) is not str or value not in known:
            raise ValueError(f"not {what} of this version")
        return known[value]

    return check


def check_endpoint(value: Any) -> Endpoint:
    """The endpoint that was sent as packed address and port."""
    match value:
        case [bytes(packed), port] if (
            type(port) is int
            and 0 < port < 65536
            and (len(packed) == 4 or (len(packed) == 16 and packed[:12] != _IPV4_MAPPED))
        ):
            return Endpoint(ipaddress.ip_address(packed), port)
        case _:
            raise ValueError("not an endpoint: [4 or 16 bytes of address, port]")


def check_endpoints(maximum: int) -> Check:
    """A check for so many endpoints at most."""

    def check(value: Any) -> tuple[Endpoint, ...]:
        match value:
            case [*endpoints] if len(endpoints) <= maximum:
                return tuple(map(check_endpoint, endpoints))
            case _:
                raise ValueError(f"not a list of up to {maximum} endpoints")

    return check


def encode_endpoint(endpoint: Endpoint | None) -> list[object] | None:
    """Turn an endpoint into what msgpack packs; None if there is nothing to say."""
    return None if endpoint is None else [endpoint.address.packed, endpoint.port]


def encode_endpoints(endpoints: Sequence[Endpoint]) -> list[object] | None:
    """Turn endpoints into what msgpack packs; None if there is nothing to say."""
    return [encode_endpoint(endpoint) for endpoint in endpoints] or None
