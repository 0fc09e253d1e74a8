"""The services that ``expose`` and ``forward`` join: how the user names them. Pure."""

from __future__ import annotations

import re

import attrs

from .._errors import LocalProtocolError, shown
from .._wire.uids import parse_protocol

_PORT = re.compile("[0-9]{1,5}")
_MAX_HOST_CHARACTERS = 253  # RFC 1035, section 2.3.4, as text


@attrs.frozen
class Service:
    """A TCP service at this side, and the name that peers know it by.

    Attributes:
        name: the name of the protocol of its streams; empty for the default one.
        host: the name or address of its host.
        port: its port.
    """

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@attrs.frozen
class Entrance:
    """A local port that leads to a service at the other side.

    Attributes:
        name: the name of the protocol of the service's streams; empty for the default one.
        port: the port, 0 for any that is free.
    """

    name: str
    port: int


def parse_service(text: str) -> Service:
    """What ``[NAME=][HOST:]PORT`` says.

    Raises:
        LocalProtocolError: it is malformed.
    """
    name, _, place = text.rpartition("=")
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "localhost"
    if not _is_port(port, 1) or not host.isprintable() or len(host) > _MAX_HOST_CHARACTERS:
        raise LocalProtocolError(
            f"{shown(text)} is no service: give HOST:PORT, like 'localhost:80', with NAME= in "
            "front if there are several"
        )
    return Service(parse_protocol(name), host, int(port))


def parse_entrance(text: str) -> Entrance:
    """What ``[NAME=]PORT`` says.

    Raises:
        LocalProtocolError: it is malformed.
    """
    name, _, port = text.rpartition("=")
    if not _is_port(port, 0):
        raise LocalProtocolError(
            f"{shown(text)} is no local port: give its number, like 8080, with NAME= in front if "
            "the peer exposes several services"
        )
    return Entrance(parse_protocol(name), int(port))


def name_of_service(uid: str, name: str) -> str:
    """What to call a service that a peer exposes."""
    return f"{name!r} of {uid!r}" if name else repr(uid)


def _is_port(text: str, least: int) -> bool:
    return _PORT.fullmatch(text) is not None and least <= int(text) < 65536
