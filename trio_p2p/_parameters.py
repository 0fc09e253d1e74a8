"""What callers hand in, checked: every mistake gets a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from ._errors import LocalProtocolError, Technique
from ._wire.messages import check_uid

BrokerAddress: TypeAlias = str | tuple[str, int]

ALL_TECHNIQUES = tuple(Technique)

_PORT = re.compile("[0-9]{1,5}")


def parse_uid(uid: str) -> str:
    """The UID, if it is one.

    Raises:
        LocalProtocolError: it is not.
    """
    try:
        return check_uid(uid)
    except ValueError as error:
        raise LocalProtocolError(f"{_shown(uid)} is no UID: {error}") from None


def parse_techniques(techniques: Sequence[str]) -> tuple[Technique, ...]:
    """The techniques of these names, in this order.

    Raises:
        LocalProtocolError: there is none, or one is not known.
    """
    known = ", ".join(repr(str(technique)) for technique in Technique)
    match techniques:
        case [_, *_] if all(technique in list(Technique) for technique in techniques):
            return tuple(dict.fromkeys(map(Technique, techniques)))
        case _:
            raise LocalProtocolError(
                f"{_shown(techniques)} is no list of techniques: choose from {known}"
            )


def parse_broker(broker: object) -> tuple[str, int]:
    """Host and port of a broker, given as ``"HOST:PORT"``, ``"[IPv6]:PORT"`` or as a tuple.

    Raises:
        LocalProtocolError: it is none of these.
    """
    match broker:
        case str():
            host, _, port_text = broker.rpartition(":")
            host = host.removeprefix("[").removesuffix("]")
            port = int(port_text) if _PORT.fullmatch(port_text) else 0
        case (str(host), int(port)) if not isinstance(port, bool):
            pass
        case _:
            host, port = "", 0
    if not host or not 0 < port < 65536:
        raise LocalProtocolError(
            f"{_shown(broker)} is no broker: give HOST:PORT, like 'broker.example.org:4433', "
            "or a tuple of host and port"
        )
    return host, port


def _shown(value: object) -> str:
    """What the caller gave, as far as it can be shown on a line."""
    try:
        return f"{value!r:.200}"
    except (ValueError, RecursionError):  # the number of 5,000 digits, the list that holds itself
        return f"this {type(value).__name__}"
