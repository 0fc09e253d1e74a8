"""The words of the connectivity check, by which two peers prove that they are the introduced ones.

A word is 32 bytes, keyed with the introduction's nonce, which only the two peers have from the
broker. Which side says which word when stands in :mod:`~trio_p2p._traversal.check`. Pure.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Mapping
from typing import Final

import attrs

PROOF_BYTES: Final = 32  # of every word


class Role(enum.Enum):
    """Which side of an introduction this is."""

    SENDER = b"trio_p2p sender"
    RECEIVER = b"trio_p2p receiver"

    @property
    def other(self) -> Role:
        """The other side."""
        return Role.RECEIVER if self is Role.SENDER else Role.SENDER


class Word(enum.Enum):
    """What the two sides say, and the text whose HMAC it is."""

    QUESTION = b""
    """Asks which introduction the other side is for: 32 zero bytes, as none is known yet."""
    CHECK = b"trio_p2p check"
    """The sender has dialled an endpoint that may be another host's. Nominates nothing."""
    SENDERS_PROOF = Role.SENDER.value
    """Proves the sender, and nominates the connection."""
    RECEIVERS_PROOF = Role.RECEIVER.value
    """Proves the receiver."""
    BUSY = b"trio_p2p busy"
    """The receiver has declined the introduction."""


@attrs.frozen
class Proofs:
    """One side of an introduction, and the words of both.

    Attributes:
        role: which side.
        words: the bytes of each word.
    """

    role: Role
    words: Mapping[Word, bytes] = attrs.field(repr=False)

    def word_of(self, heard: bytes) -> Word | None:
        """The word that some bytes are; None if they are none."""
        for word, said in self.words.items():
            if hmac.compare_digest(said, heard):
                return word
        return None


def proofs(nonce: bytes, role: Role) -> Proofs:
    """The words for an introduction's nonce: HMAC-SHA-256 of their texts under the nonce."""
    words = {word: hmac.digest(nonce, word.value, "sha256") for word in Word}
    return Proofs(role, {**words, Word.QUESTION: bytes(PROOF_BYTES)})
