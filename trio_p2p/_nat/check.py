"""The connectivity check: short proofs that a connection leads to the introduced peer. Pure.

Each side proves that it got the introduction's nonce from the broker. Whoever dialled a
connection speaks first on it, the sender if both did; whoever accepted one answers only a right
proof. The sender proves itself on one connection only: that nominates it (RFC 8445's term).

No round trip is spent. The sender's proof travels with the packet that completes the handshake;
the receiver's goes, and is read, together with the first bytes of its data, or their end.
"""

from __future__ import annotations

import enum
import hmac

import attrs

PROOF_BYTES = 32


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
    """

    own: bytes = attrs.field(repr=False)
    peers: bytes = attrs.field(repr=False)


def proofs(nonce: bytes, role: Role) -> Proofs:
    """The proofs for an introduction's nonce: HMAC-SHA-256 of the role under the nonce."""
    return Proofs(
        own=hmac.digest(nonce, role.value, "sha256"),
        peers=hmac.digest(nonce, role.other.value, "sha256"),
    )
