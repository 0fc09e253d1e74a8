"""Codes that one user tells another: a number to be found by, and words to prove.

``38412-otter-lemon-igloo``. The number is the UID, which the broker sees. The words are never sent,
neither as they are nor as anything that could be tried against all words: see
:mod:`.pairing`. Three of 256 words are 24 bits, and a wrong one ends the code, so that an attacker,
the broker included, is right once in 16.7 million tries, each of which costs the users a code.
"""

from __future__ import annotations

import re
import secrets

import attrs

from ..._errors import LocalProtocolError
from .words import WORDS

WORD_COUNT = 3
_NUMBERS = range(10_000, 100_000)
_FORM = re.compile(r"([1-9][0-9]{4})-([a-z]+(?:-[a-z]+){2})")
_WORDS = frozenset(WORDS)


@attrs.frozen
class Code:
    """A code.

    Attributes:
        number: which finds the other side.
        words: the secret.
    """

    number: int
    words: str = attrs.field(repr=False)

    @classmethod
    def make(cls) -> Code:
        """A code that cannot be foreseen."""
        words = (secrets.choice(WORDS) for _ in range(WORD_COUNT))
        return cls(secrets.choice(_NUMBERS), "-".join(words))

    @classmethod
    def parse(cls, text: str) -> Code:
        """The code that a user has typed, in letters of any case.

        Raises:
            LocalProtocolError: it is none, or has a word that no code has.
        """
        found = _FORM.fullmatch(text.strip().lower())
        if found is None:
            raise LocalProtocolError(
                f"{text!r:.80} is no code, which is a number and {WORD_COUNT} words, with - in "
                "between"
            )
        for word in found[2].split("-"):
            if word not in _WORDS:
                raise LocalProtocolError(f"{text!r} is no code: no code has the word {word!r}")
        return cls(int(found[1]), found[2])

    @property
    def uid(self) -> str:
        """The UID of the side that has made the code."""
        return f"trio-p2p code {self.number}"

    def __str__(self) -> str:
        return f"{self.number}-{self.words}"


def looks_like_code(text: str) -> bool:
    """Whether a text has the form of a code, whatever its words."""
    return _FORM.fullmatch(text.strip().lower()) is not None
