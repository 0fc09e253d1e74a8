"""Where a broker is, and whether it is spoken to in TLS. Pure."""

from __future__ import annotations

import re
from typing import cast

import attrs

from .._errors import LocalProtocolError, shown

DEFAULT_PORT = 4433

_PORT = re.compile("[0-9]{1,5}")
_TLS = "tls://"
_PIN = re.compile("sha256=([0-9a-fA-F]{64})")


@attrs.frozen
class BrokerPlace:
    """Where a broker is.

    Attributes:
        host: its name or address.
        port: its port.
        is_encrypted: whether to speak TLS with it.
        pin: the SHA-256 of its public key, if that proves it, instead of a certificate that is
            trusted.
    """

    host: str
    port: int
    is_encrypted: bool = False
    pin: bytes | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port


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
        tuples = "" if isinstance(broker, str) else ", or a tuple of host and port"
        raise LocalProtocolError(
            f"{shown(broker)} is no broker: give HOST:PORT, like 'broker.example.org:4433', "
            f"with tls:// in front if it speaks TLS{tuples}"
        )
    return host, port


def parse_broker_place(broker: object) -> BrokerPlace:
    """Where a broker is, given as for :func:`parse_broker`, or as ``"tls://HOST:PORT"``.

    Raises:
        LocalProtocolError: it is none of these.
    """
    if isinstance(broker, BrokerPlace):
        return broker
    if not isinstance(broker, str) or not broker.startswith(_TLS):
        return BrokerPlace(*parse_broker(broker))
    place, _, pin = broker.removeprefix(_TLS).partition("#")
    return BrokerPlace(*parse_broker(place), is_encrypted=True, pin=parse_pin(pin))


def parse_brokers(brokers: object) -> tuple[BrokerPlace, ...]:
    """Where several brokers are, the best first: a list, or a text with commas in between.

    Raises:
        LocalProtocolError: there is none, or one is wrong.
    """
    match brokers:
        case str():
            listed: list[object] = [*brokers.split(",")]
        case list():
            listed = [*cast("list[object]", brokers)]
        case _:
            listed = [brokers]
    if not listed:
        raise LocalProtocolError("[] has no broker: give one at least, as HOST:PORT")
    return tuple(dict.fromkeys(map(parse_broker_place, listed)))


def parse_pin(text: str) -> bytes | None:
    """The pin behind the ``#`` of an address.

    Raises:
        LocalProtocolError: it is none.
    """
    if not text:
        return None
    found = _PIN.fullmatch(text)
    if found is None:
        raise LocalProtocolError(
            f"{shown(text)} does not pin a broker's key: give sha256= and 64 hexadecimal digits, "
            "as the broker says when it starts"
        )
    return bytes.fromhex(found[1])
