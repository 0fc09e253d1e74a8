"""What stands for one value of a setting: texts, each checked, with a sentence for each mistake.

All functions raise :exc:`LocalProtocolError` if a text is wrong.
"""

from __future__ import annotations

import ipaddress
import math

from .._addresses import Endpoint
from .._broker.quota import MIN_IDLE_TIME
from .._broker_client.place import parse_broker, parse_broker_place
from .._errors import LocalProtocolError, shown
from .._wire.messages import MAX_COUNT, MAX_RETRY_AFTER, may_be_broker

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


def parse_port(text: str) -> int:
    """A TCP port, or 0 for any free one."""
    if not text.isdecimal() or int(text) >= 65536:
        raise LocalProtocolError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def parse_count(text: str) -> int:
    """A whole number, at least 1."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_COUNT:
        raise LocalProtocolError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parse_idle_time(text: str) -> float:
    """For how many seconds a circuit may be idle."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_IDLE_TIME <= seconds < math.inf:
        raise LocalProtocolError(
            f"{text!r} is not a number of seconds of at least {MIN_IDLE_TIME:g}: peers do not say "
            "something more often"
        )
    return seconds


def parse_seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise LocalProtocolError(f"{text!r} is not a number of seconds of at least 0")
    return seconds


def parse_retry_after(text: str) -> float:
    """For how many seconds clients stay away."""
    seconds = parse_seconds(text)
    if not 0.001 <= seconds <= MAX_RETRY_AFTER / 1000:
        most = MAX_RETRY_AFTER / 1000
        raise LocalProtocolError(f"{text!r} is not a number of seconds from 0.001 to {most:g}")
    return seconds


def parse_status(text: str) -> str:
    """The address and port of the status page."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        parse_port(port)
    except ValueError:  # which LocalProtocolError is, too
        raise LocalProtocolError(
            f"{text!r} is no IP address and port to listen on: give one like 127.0.0.1:9433"
        ) from None
    return text


def parse_host(text: str) -> str:
    """A name or an address to listen on."""
    if not text:
        raise LocalProtocolError("'' is no host: give a name or an address")
    return text


def parse_file(text: str) -> str:
    """The name of a file."""
    if not text:
        raise LocalProtocolError("'' is no file: give its name")
    return text


def parse_network(text: str) -> str:
    """An address, or a network."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise LocalProtocolError(
            f"{text!r} is no network ({error}): give an address, or one with a prefix, like "
            "192.0.2.0/24"
        ) from error


def parse_place(text: str) -> str:
    """A host and its port."""
    parse_broker(text)
    return text


def parse_other_broker(text: str) -> str:
    """Where clients find another broker, as they are told so themselves."""
    parse_broker_place(text)
    if not may_be_broker(text):
        raise LocalProtocolError(f"{shown(text)} is too long for a broker, or cannot be printed")
    return text


def parse_log_level(text: str) -> str:
    """The least important lines to log."""
    return _one_of(text, LOG_LEVELS)


def parse_log_format(text: str) -> str:
    """How to write log lines."""
    return _one_of(text, LOG_FORMATS)


def parse_external(text: str, port: int) -> Endpoint:
    """The endpoint in a text like ``192.0.2.1``, ``192.0.2.1:4433`` or ``[2001:db8::1]:4433``."""
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        host, port = parse_broker(text)
    else:
        host, port = parse_broker((str(address), port))
    try:
        return Endpoint(ipaddress.ip_address(host), port)
    except ValueError:
        raise LocalProtocolError(
            f"external takes IP addresses, which peers connect to, and {host!r} is none"
        ) from None


def _one_of(text: str, values: tuple[str, ...]) -> str:
    if text not in values:
        raise LocalProtocolError(f"{text!r} is not one of {', '.join(values)}")
    return text
