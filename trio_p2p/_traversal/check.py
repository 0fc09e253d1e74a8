"""The connectivity check: short proofs that a connection leads to the introduced peer. Pure.

Each side proves that it got the introduction's nonce from the broker. The sender speaks first. It
proves itself on one connection only, to or from the endpoint that it was told of: that nominates
the connection (RFC 8445's term). Who connects from elsewhere, or is dialled elsewhere, is asked
first: a private address, or a port that was guessed, may be somebody else's.

The receiver answers a question at once, and a proof with its first data: never unasked, because
TCP resets a connection, and loses data on the way, if something comes that its reader, having
closed it, is not going to read.

No round trip is spent. The sender's proof travels behind the packet that completes the handshake;
the receiver's is checked together with the first bytes of its data.
"""

from __future__ import annotations

import enum
import hmac

import attrs

PROOF_BYTES = 32
QUESTION = bytes(PROOF_BYTES)  # who are you?
_CHECK = b"trio_p2p check"
_BUSY = b"trio_p2p busy"


class Role(enum.Enum):
    """Which side of an introduction this is."""

    SENDER = b"trio_p2p sender"
    RECEIVER = b"trio_p2p receiver"

    @property
    def other(self) -> Role:
        """The other side."""
        return Role.RECEIVER if self is Role.SENDER else Role.SENDER


@attrs.frozen
class Proofs:
    """What the two sides of one introduction say to each other first.

    Attributes:
        own: what this side says.
        peers: what it wants to hear.
        check: what the sender says where it may have reached somebody else. It nominates
            nothing, and the receiver answers with its proof.
        busy: what the receiver says instead of its proof if it has declined the introduction.
    """

    own: bytes = attrs.field(repr=False)
    peers: bytes = attrs.field(repr=False)
    check: bytes = attrs.field(repr=False)
    busy: bytes = attrs.field(repr=False)


def proofs(nonce: bytes, role: Role) -> Proofs:
    """The proofs for an introduction's nonce: HMAC-SHA-256 of the role under the nonce."""
    return Proofs(
        own=hmac.digest(nonce, role.value, "sha256"),
        peers=hmac.digest(nonce, role.other.value, "sha256"),
        check=hmac.digest(nonce, _CHECK, "sha256"),
        busy=hmac.digest(nonce, _BUSY, "sha256"),
    )
