"""What callers hand in, checked: every mistake gets a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ._errors import LocalProtocolError, Technique
from ._wire.messages import check_uid

BrokerAddress: TypeAlias = str | tuple[str, int]

ALL_TECHNIQUES = tuple(Technique)


def parse_uid(uid: str) -> str:
    """The UID, if it is one.

    Raises:
        LocalProtocolError: it is not.
    """
    try:
        return check_uid(uid)
    except ValueError as error:
        raise LocalProtocolError(f"{uid!r:.200} is no UID: {error}") from None


def parse_techniques(techniques: Sequence[str]) -> tuple[Technique, ...]:
    """The techniques of these names, in this order.

    Raises:
        LocalProtocolError: there is none, or one is not known.
    """
    known = ", ".join(repr(str(technique)) for technique in Technique)
    if not techniques or isinstance(techniques, str):
        raise LocalProtocolError(f"techniques is a list of names: choose from {known}")
    try:
        return tuple(dict.fromkeys(map(Technique, techniques)))
    except ValueError as error:
        raise LocalProtocolError(f"{error}: choose from {known}") from None


def parse_broker(broker: object) -> tuple[str, int]:
    """Host and port of a broker, given as ``"HOST:PORT"``, ``"[IPv6]:PORT"`` or as a tuple.

    Raises:
        LocalProtocolError: it is none of these.
    """
    match broker:
        case str():
            host, _, port_text = broker.rpartition(":")
            host = host.removeprefix("[").removesuffix("]")
            port = int(port_text) if port_text.isdecimal() and port_text.isascii() else 0
        case (str(host), int(port)):
            pass
        case _:
            host, port = "", 0
    if not host or not 0 < port < 65536:
        raise LocalProtocolError(
            f"{broker!r} is no broker: give HOST:PORT, like 'broker.example.org:4433', "
            "or a tuple of host and port"
        )
    return host, port
