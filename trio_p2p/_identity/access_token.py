"""Access tokens: what a broker's operator hands out, so that its holder may use a closed broker.

A token is a statement, signed with a key of the operator's: what its holder may do, until when, and
perhaps as which peer and for which UIDs. The broker needs the public key only, and stores nothing
about a token but, to revoke it, its id. Pure.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from .._errors import LocalProtocolError, RemoteProtocolError, shown
from .keys import is_signed_with
from .peer_id import PeerId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TOKEN_ID_BYTES = 8
MAX_PATTERN_BYTES = 128  # as a UID
MAX_EXPIRY = 2**40  # seconds since 1970: far away, and far from any limit of a calendar

_VERSION = 1
_CONTEXT = b"trio_p2p access token\0"
_SIGNATURE_BYTES = 64
_EXPIRY_BYTES = 6
_DIGEST_BYTES = 23
_HEADER_BYTES = 2 + TOKEN_ID_BYTES + _EXPIRY_BYTES
_MIN_BODY_BYTES = _HEADER_BYTES + 2
MIN_TOKEN_BYTES = _MIN_BODY_BYTES + _SIGNATURE_BYTES
MAX_TOKEN_BYTES = MIN_TOKEN_BYTES + _DIGEST_BYTES + MAX_PATTERN_BYTES
_PREFIX = "tp2p_"  # so that a text never begins with a dash, and is known in a heap of secrets


class Use(enum.StrEnum):
    """What a client may do at a broker."""

    REGISTER = "register"
    """Register UIDs, and be introduced under them, directly or by the relay."""
    ASK = "ask"
    """Ask for UIDs, to connect directly, and watch them."""
    RELAY = "relay"
    """Ask for UIDs, to connect over the relay."""


_BITS = {use: 1 << position for position, use in enumerate(Use)}
_ALL_BITS = sum(_BITS.values())


@attrs.frozen
class AccessToken:
    """What a token says.

    Attributes:
        identifier: tells the token from others, to revoke it.
        uses: what its holder may do.
        expires_at: until when, in seconds since 1970.
        peer_id: the peer that it is for; None for any holder.
        pattern: of the UIDs that it is for, as a shell's, with ``*`` and ``?``; None for all.
    """

    identifier: bytes
    uses: frozenset[Use]
    expires_at: int
    peer_id: PeerId | None = None
    pattern: str | None = None

    def __attrs_post_init__(self) -> None:
        if len(self.identifier) != TOKEN_ID_BYTES:
            raise LocalProtocolError(f"the id of a token has {TOKEN_ID_BYTES} bytes")
        if not self.uses:
            raise LocalProtocolError(f"a token is for something: give some of {', '.join(Use)}")
        if not 0 <= self.expires_at < MAX_EXPIRY:
            raise LocalProtocolError("a token ends at some time: give a number of days")
        if self.pattern is not None:
            _check_pattern(self.pattern)

    def covers(self, uid: str) -> bool:
        """Whether the token is for a UID."""
        return self.pattern is None or fnmatchcase(uid, self.pattern)

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """The token itself: what it says, and a signature over that."""
        body = self.body()
        return body + key.sign(_CONTEXT + body)

    def body(self) -> bytes:
        """What the signature is over: the one form of what the token says."""
        digest = b"" if self.peer_id is None else self.peer_id.digest
        pattern = b"" if self.pattern is None else self.pattern.encode()
        bits = sum(_BITS[use] for use in self.uses)
        return b"".join(
            (
                bytes([_VERSION, bits]),
                self.identifier,
                self.expires_at.to_bytes(_EXPIRY_BYTES, "big"),
                bytes([len(digest)]) + digest,
                bytes([len(pattern)]) + pattern,
            )
        )


def read_token_untrusted(data: bytes) -> AccessToken:
    """What a token says, its signature not checked.

    Args:
        data: of any length.

    Raises:
        RemoteProtocolError: it is no token of this version.
    """
    body = data[:-_SIGNATURE_BYTES]
    if not MIN_TOKEN_BYTES <= len(data) <= MAX_TOKEN_BYTES or body[0] != _VERSION:
        raise RemoteProtocolError("this is no access token of this version")
    digest_end = _HEADER_BYTES + 1 + body[_HEADER_BYTES]
    digest, pattern = body[_HEADER_BYTES + 1 : digest_end], body[digest_end + 1 :]
    try:
        token = AccessToken(
            identifier=body[2 : 2 + TOKEN_ID_BYTES],
            uses=frozenset(use for use, bit in _BITS.items() if body[1] & bit),
            expires_at=int.from_bytes(body[2 + TOKEN_ID_BYTES : _HEADER_BYTES], "big"),
            peer_id=PeerId(digest) if digest else None,
            pattern=pattern.decode() if pattern else None,
        )
    except (LocalProtocolError, UnicodeDecodeError) as error:
        raise RemoteProtocolError("this access token says nothing that can be meant") from error
    if token.body() != body:
        raise RemoteProtocolError("this access token is not in its one form")
    return token


def check_token_untrusted(data: bytes, public_keys: Iterable[bytes]) -> AccessToken:
    """What a token says that was signed with one of some keys.

    Args:
        data: of any length.
        public_keys: the raw Ed25519 public keys.

    Raises:
        RemoteProtocolError: it is no token, or none of these keys has signed it.
    """
    token = read_token_untrusted(data)
    body, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    if any(is_signed_with(key, signature, _CONTEXT + body) for key in public_keys):
        return token
    raise RemoteProtocolError("no key that this broker knows has signed this access token")


def token_text(data: bytes) -> str:
    """A token as text: letters, digits, ``-`` and ``_`` only, which no shell has a use for."""
    return _PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parse_token(text: object) -> bytes:
    """The token that a text is.

    Raises:
        LocalProtocolError: it is none.
    """
    if isinstance(text, str) and text.startswith(_PREFIX):
        encoded = text.removeprefix(_PREFIX)
        try:
            data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            read_token_untrusted(data)
        except (RemoteProtocolError, binascii.Error, ValueError):
            pass
        else:
            if token_text(data) == text:
                return data
    raise LocalProtocolError(
        f"this is no access token (it begins with {_begin_of(text)}): give all of the line that "
        "`trio-p2p-broker token` has printed"
    )


def _begin_of(text: object) -> str:
    """As much as may be shown: a token is a secret."""
    return shown(text[: len(_PREFIX)]) if isinstance(text, str) else shown(text)


def _check_pattern(pattern: str) -> None:
    if not 0 < len(pattern.encode()) <= MAX_PATTERN_BYTES or not pattern.isprintable():
        raise LocalProtocolError(
            f"{shown(pattern)} is no pattern of UIDs: give up to {MAX_PATTERN_BYTES} bytes without "
            "control characters, like 'team-*'"
        )
