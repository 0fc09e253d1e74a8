"""Tickets: where a peer is to be met, and who it is, as one text to be copied or scanned.

A ticket holds brokers, a peer id, and a UID if that is another one. It is no secret, and admits no
peer: what it adds to a UID is that there is nothing else to type, and that the peer id is known
from the beginning. Like a peer id it ends with a checksum.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

import attrs
import msgpack

from .._broker_client.place import BrokerPlace, parse_broker_place
from .._errors import LocalProtocolError
from .._identity.peer_id import PeerId
from .._wire.uids import parse_uid

MAX_BROKERS = 8
MAX_TEXT = 2000  # characters; a QR code has room for some more

_PREFIX = "p2pticket"
_FORM = re.compile(_PREFIX + "[a-z2-7]+", re.IGNORECASE)
_CHECKSUM_BYTES = 4
_CHECKSUM_CONTEXT = b"trio_p2p ticket"
_VERSION = 1


@attrs.frozen
class Ticket:
    """Where a peer is to be met.

    Attributes:
        brokers: the brokers, the best first.
        peer_id: who it is.
        uid: the UID that it listens under.
    """

    brokers: tuple[BrokerPlace, ...]
    peer_id: PeerId
    uid: str

    def __str__(self) -> str:
        uid = None if self.uid == str(self.peer_id) else self.uid
        brokers = [_text_of(broker) for broker in self.brokers]
        packed = msgpack.packb([_VERSION, self.peer_id.digest, brokers, uid])
        return _PREFIX + _encoded(packed + _checksum(packed))

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """The ticket that a text is, in letters of any case.

        Raises:
            LocalProtocolError: it is none, or has a typo.
        """
        if len(text) > MAX_TEXT or not looks_like_ticket(text):
            raise LocalProtocolError(
                f"{text!r:.80} is no ticket, which is {_PREFIX!r} and more characters from a to z "
                "and 2 to 7"
            )
        broken = LocalProtocolError(
            f"{text!r:.80} is no ticket, though it looks like one: copy all of it again"
        )
        encoded = text.lower()[len(_PREFIX) :]
        try:
            data = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
        except binascii.Error:
            raise broken from None
        packed, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        if checksum != _checksum(packed) or _encoded(data) != encoded:
            raise broken
        return _unpacked(packed)


def looks_like_ticket(text: str) -> bool:
    """Whether a text has the form of a ticket, whatever its checksum."""
    return _FORM.fullmatch(text) is not None


def parse_uid_or_ticket(text: str) -> str:
    """A UID, or a ticket, as its text.

    Raises:
        LocalProtocolError: it is neither.
    """
    return str(Ticket.parse(text)) if looks_like_ticket(text) else parse_uid(text)


def follow_ticket(options: argparse.Namespace) -> None:
    """Put what a ticket says in the place of the UID, the brokers and the expected peer.

    Args:
        options: of the command line; nothing is done if they name no ticket.
    """
    uid = getattr(options, "uid", None)
    if isinstance(uid, str) and looks_like_ticket(uid) and hasattr(options, "expect"):
        ticket = Ticket.parse(uid)
        options.uid, options.broker = ticket.uid, ticket.brokers
        if options.expect is None and not options.raw:
            options.expect = ticket.peer_id


def _unpacked(packed: bytes) -> Ticket:
    """What stands in a ticket, which another user may have made up."""
    try:
        fields = msgpack.unpackb(packed, max_array_len=MAX_BROKERS, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException):
        fields = None
    match fields:
        case [int(version), bytes(digest), [*brokers], str() | None as uid] if version == _VERSION:
            peer_id = PeerId(digest)
            places = _parse_brokers(brokers)
            return Ticket(places, peer_id, str(peer_id) if uid is None else parse_uid(uid))
        case _:
            raise LocalProtocolError(
                "this ticket is of another version of trio-p2p: ask for a UID and a broker instead"
            )


def _parse_brokers(brokers: Sequence[object]) -> tuple[BrokerPlace, ...]:
    if not brokers or not all(
        isinstance(broker, str) and broker.isprintable() for broker in brokers
    ):
        raise LocalProtocolError("this ticket names no broker: ask for another one")
    return tuple(map(parse_broker_place, brokers))


def _text_of(broker: BrokerPlace) -> str:
    host = f"[{broker.host}]" if ":" in broker.host else broker.host
    scheme = "tls://" if broker.is_encrypted else ""
    pin = f"#sha256={broker.pin.hex()}" if broker.pin else ""
    return f"{scheme}{host}:{broker.port}{pin}"


def _encoded(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _checksum(packed: bytes) -> bytes:
    return hashlib.sha256(_CHECKSUM_CONTEXT + packed).digest()[:_CHECKSUM_BYTES]
