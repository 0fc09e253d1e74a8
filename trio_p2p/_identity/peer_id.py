"""Peer ids: short names of public keys, which people can copy and programs can pin.

A name that is derived from the key needs no authority to vouch for it: a peer that proves to hold
the key is the peer. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re

import attrs

from .._errors import LocalProtocolError

_PREFIX = "p2p"
_DIGEST_BYTES = 23  # 184 bits; with the checksum 200, which base32 writes without padding
_CHECKSUM_BYTES = 2
_CHECKSUM_CONTEXT = b"trio_p2p peer id"
_FORM = re.compile(r"p2p[a-z2-7]{40}")


def _check_digest(_instance: PeerId, _attribute: attrs.Attribute[bytes], digest: bytes) -> None:
    if len(digest) != _DIGEST_BYTES:
        raise LocalProtocolError(
            f"a peer id has {_DIGEST_BYTES} bytes, not {len(digest)}: make it with "
            "PeerId.parse() or PeerId.of_public_key()"
        )


@attrs.frozen(order=True)
class PeerId:
    """Who a peer is: the first 23 bytes of the SHA-256 of its Ed25519 public key.

    Its text, ``str(peer_id)``, is ``p2p`` and 40 lower-case base32 characters; the last ones hold
    a checksum, so that a typo is found.

    Attributes:
        digest: the 23 bytes.

    Raises:
        LocalProtocolError: the digest has another length.
    """

    digest: bytes = attrs.field(validator=_check_digest)

    @classmethod
    def of_public_key(cls, public_key: bytes) -> PeerId:
        """The peer id of a raw Ed25519 public key.

        Args:
            public_key: its 32 bytes.
        """
        return cls(hashlib.sha256(public_key).digest()[:_DIGEST_BYTES])

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """The peer id that a text is.

        Args:
            text: what ``str()`` of a peer id gave.

        Raises:
            LocalProtocolError: it is not the text of a peer id, or has a typo.
        """
        if not looks_like_peer_id(text):
            raise LocalProtocolError(
                f"{text!r} is not a peer id, which is {_PREFIX!r} and 40 more characters from "
                "a to z and 2 to 7: copy all of it"
            )
        decoded = base64.b32decode(text.removeprefix(_PREFIX).upper())
        digest, checksum = decoded[:_DIGEST_BYTES], decoded[_DIGEST_BYTES:]
        if checksum != _checksum(digest):
            raise LocalProtocolError(
                f"{text!r} is not a peer id, though it looks like one: a character of it must be "
                "wrong, so copy it again"
            )
        return cls(digest)

    def __str__(self) -> str:
        encoded = base64.b32encode(self.digest + _checksum(self.digest))
        return _PREFIX + encoded.decode("ascii").lower()

    def __repr__(self) -> str:
        return f"PeerId({str(self)!r})"


def looks_like_peer_id(text: str) -> bool:
    """Whether a text has the form of a peer id, whatever its checksum."""
    return _FORM.fullmatch(text) is not None


def _checksum(digest: bytes) -> bytes:
    return hashlib.sha256(_CHECKSUM_CONTEXT + digest).digest()[:_CHECKSUM_BYTES]
