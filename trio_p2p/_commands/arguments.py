"""What the shell tools take as arguments: texts, checked by what checks the library's options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .._attempt import Technique
from .._broker_client.place import DEFAULT_PORT, BrokerPlace, parse_brokers
from .._errors import LocalProtocolError
from .._identity.access_token import parse_token
from .._options import parse_grace

T = TypeVar("T")


def checked_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The type of an argument that a function of the library checks."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except LocalProtocolError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def parse_path(text: str) -> Path:
    """A path; an empty text is none, though :class:`pathlib.Path` makes the current folder of it.

    Raises:
        LocalProtocolError: it is empty, as a variable is that is not set.
    """
    if not text:
        raise LocalProtocolError("the path is empty: name a file, or . for this folder")
    return Path(text)


def parse_broker_list(text: str) -> tuple[BrokerPlace, ...]:
    """Where brokers are, with commas in between; at the default port if there is none.

    Raises:
        LocalProtocolError: one is wrong.
    """
    return parse_brokers(",".join(map(_with_port, text.split(","))))


def _with_port(text: str) -> str:
    place, sign, pin = text.partition("#")
    host = place.removeprefix("tls://")
    behind = host.rpartition("]")[2] if host.startswith("[") else host
    return text if not host or ":" in behind else f"{place}:{DEFAULT_PORT}{sign}{pin}"


def broker_of_environment() -> str | None:
    """The broker that the user has set for all commands; None if there is none."""
    return os.environ.get("TRIO_P2P_BROKER") or None


def token_of_environment() -> str | None:
    """The access token that the user has set for all commands; None if there is none."""
    return os.environ.get("TRIO_P2P_TOKEN") or None


def parse_token_text(text: str) -> str:
    """An access token, as its text.

    Raises:
        LocalProtocolError: it is none.
    """
    parse_token(text)
    return text


def parse_seconds(text: str) -> float:
    """A time.

    Raises:
        LocalProtocolError: it is none.
    """
    seconds: object
    try:
        seconds = float(text)
    except ValueError:
        seconds = text
    return parse_grace(seconds)


def parse_count(text: str) -> int:
    """A number, 1 or more.

    Raises:
        LocalProtocolError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise LocalProtocolError(f"{text!r} is no number: give 1 or more")
    return int(text)


def parse_technique(text: str) -> Technique:
    """The technique of this name.

    Raises:
        LocalProtocolError: it is not known.
    """
    if text not in list(Technique):
        raise LocalProtocolError(f"{text!r} is no technique: choose from {', '.join(Technique)}")
    return Technique(text)
