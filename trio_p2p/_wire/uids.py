"""UIDs and names of protocols that callers hand in, checked. Pure."""

from __future__ import annotations

from .._errors import LocalProtocolError, shown
from .._identity.peer_id import PeerId, looks_like_peer_id
from .fields import check_uid

MAX_PROTOCOL_BYTES = 128


def parse_uid(uid: str | PeerId) -> str:
    """The UID, if it is one.

    Raises:
        LocalProtocolError: it is not, or looks like a peer id with a mistake in it.
    """
    text = str(uid) if isinstance(uid, PeerId) else uid
    try:
        checked = check_uid(text)
    except ValueError as error:
        raise LocalProtocolError(f"{shown(uid)} is no UID: {error}") from None
    if looks_like_peer_id(checked):
        PeerId.parse(checked)
    return checked


def check_protocol(name: object) -> str:
    """Return the name of a protocol if it is one; else ValueError says what is wrong with it."""
    if not isinstance(name, str):
        raise ValueError(f"it is text, not {type(name).__name__}")
    if not name.isprintable():
        raise ValueError("it must not contain control characters")
    if len(name.encode()) > MAX_PROTOCOL_BYTES:
        raise ValueError(f"it must not be longer than {MAX_PROTOCOL_BYTES} bytes in UTF-8")
    return name


def parse_protocol(name: str) -> str:
    """The name of a protocol, if it is one.

    Raises:
        LocalProtocolError: it is not.
    """
    try:
        return check_protocol(name)
    except ValueError as error:
        raise LocalProtocolError(f"{shown(name)} is no name of a protocol: {error}") from None
