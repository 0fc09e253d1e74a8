"""Proves to each other that two sides know the same code, without telling it: SPAKE2 (RFC 9382).

Each side sends an element of the group, then a confirmation of the key that follows from both
elements, the code, and the peer ids of both sides. These are those that TLS has authenticated. So
what one connection proves is of no use on another one: a broker, or any peer that comes between
two others, has to guess the code. It learns whether one guess is right, from the other side's
answer, and nothing of any other: there is nothing to try all codes against.

The owner of the code, whose confirmation comes second, confirms nothing to a wrong guess.
"""

from __future__ import annotations

import enum
import hmac
import importlib
from typing import Any

from ..._errors import RemoteProtocolError
from ..._identity.peer_id import PeerId
from ..run import CommandError
from .code import Code

PROTOCOL = "trio-p2p code 1"  # the name of the streams' protocol
ELEMENT_BYTES = CONFIRMATION_BYTES = 32

_CONTEXT = PROTOCOL.encode()


class Side(enum.StrEnum):
    """Who has the code from where."""

    OPENER = "opener"
    """It was told, and opens the stream."""
    OWNER = "owner"
    """It has made the code, and accepts the stream."""


# By their side; the package writes it in front of each element, where it tells nothing new here.
_MARKS = {Side.OPENER: b"A", Side.OWNER: b"B"}


class Pairing:
    """One side of one try.

    Args:
        side: which.
        code: the code, as it knows it.
        opener: the opener's peer id.
        owner: the owner's peer id.

    Attributes:
        element: what to send first.

    Raises:
        CommandError: what this needs is not installed.
    """

    def __init__(self, side: Side, code: Code, *, opener: PeerId, owner: PeerId) -> None:
        spake2 = _spake2()
        kind = spake2.SPAKE2_A if side is Side.OPENER else spake2.SPAKE2_B
        secret = b"%s %d %s" % (_CONTEXT, code.number, code.words.encode())
        self._spake2 = kind(secret, idA=str(opener).encode(), idB=str(owner).encode())
        self._side = side
        self._other = Side.OWNER if side is Side.OPENER else Side.OPENER
        self._key = b""
        self.element: bytes = self._spake2.start()[1:]

    def hear_element_untrusted(self, element: bytes) -> bytes:
        """Take the other side's element; our confirmation.

        Raises:
            RemoteProtocolError: it is none.
        """
        # It tells kinds of nonsense apart by its own exceptions, of no common base.
        errors = (ValueError, _spake2().SPAKEError, _spake2().ed25519_basic.NotOnCurve)
        try:
            self._key = self._spake2.finish(_MARKS[self._other] + element)
        except errors:
            raise RemoteProtocolError("the peer does not prove that it knows the code") from None
        return self._confirmation(self._side)

    def is_right(self, confirmation: bytes) -> bool:
        """Whether the other side's confirmation proves that it knows the code."""
        return hmac.compare_digest(confirmation, self._confirmation(self._other))

    def _confirmation(self, side: Side) -> bytes:
        return hmac.digest(self._key, b"%s %s" % (_CONTEXT, side.encode()), "sha256")


def require_codes() -> None:
    """Make sure that codes can be used.

    Raises:
        CommandError: what they need is not installed.
    """
    _spake2()


def _spake2() -> Any:
    try:
        return importlib.import_module("spake2")
    except ImportError as error:
        raise CommandError(
            "codes need the package spake2: install trio-p2p[tools], or agree on a UID instead"
        ) from error
