"""The connectivity check: who says what when on a new connection between two peers. Sans-IO.

Three rules make the table:

* The sender says its proof on one connection only: that nominates the connection (RFC 8445's
  term). It does so at once on a connection with the endpoint that it was told of. Any other one, a
  private address or a port that was guessed, may be another host's: the receiver's proof comes
  first there.
* The receiver says its proof once on each connection, and never unasked: it answers at once what
  the sender says. The sender always reads it before anything else, so that TCP never resets a
  connection for a proof that its reader has left unread.
* The side that has accepted a connection from an endpoint that it was not told of asks who is
  there if it is the sender of anything. The side that has dialled a receiver skips one question.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Final, Self

import attrs

from .proofs import PROOF_BYTES, Proofs, Role, Word


class CheckState(enum.Enum):
    """What a side of a connection waits for."""

    UNTOLD = "accepted, for an introduction that is not known yet"
    NOMINATING = "the sender has dialled and nominated, and may still be asked"
    NOMINATED = "the sender has nominated"
    CHECKING = "the sender has dialled and checks, and may still be asked"
    ASKING = "the sender waits for the receiver's proof before it nominates"
    LISTENING = "the receiver has said nothing about itself yet"
    ANSWERED = "the receiver has said its proof and is not nominated yet"
    DECLINED = "the receiver has declined the introduction"


class Verdict(enum.Enum):
    """What a check has found out."""

    NOMINATED = "the sender has nominated the connection; the receiver's proof is to come"
    PEER = "the introduced peer is at the other end, and the connection is nominated"
    BUSY = "the receiver has declined the introduction"
    WRONG_PEER = "the other side has said what the introduced peer does not say here"
    LOST = "the connection ended, or took too long, before anything wrong was said"
    STRANGER = "the connection was for no introduction that is known here"


class Came(enum.Enum):
    """How a side has come by a connection."""

    DIALLED = "dialled"
    ACCEPTED = "accepted"


@attrs.frozen
class Step:
    """What a side does next.

    Attributes:
        says: what it says, if anything.
        then: what it waits for, or what it knows.
    """

    says: Word | None
    then: CheckState | Verdict


# By the role, how the connection came about, and whether this side was told of the other endpoint.
OPENINGS: Final[Mapping[tuple[Role, Came, bool], Step]] = {
    (Role.SENDER, Came.DIALLED, True): Step(Word.SENDERS_PROOF, CheckState.NOMINATING),
    (Role.SENDER, Came.DIALLED, False): Step(Word.CHECK, CheckState.CHECKING),
    (Role.SENDER, Came.ACCEPTED, True): Step(Word.SENDERS_PROOF, CheckState.NOMINATED),
    (Role.SENDER, Came.ACCEPTED, False): Step(Word.QUESTION, CheckState.ASKING),
    (Role.RECEIVER, Came.DIALLED, True): Step(None, CheckState.LISTENING),
    (Role.RECEIVER, Came.DIALLED, False): Step(None, CheckState.LISTENING),
    (Role.RECEIVER, Came.ACCEPTED, True): Step(None, CheckState.LISTENING),
    (Role.RECEIVER, Came.ACCEPTED, False): Step(None, CheckState.LISTENING),
}
# By what a side waits for, and what it hears. Any other word is a wrong peer's.
STEPS: Final[Mapping[tuple[CheckState, Word], Step]] = {
    (CheckState.NOMINATING, Word.QUESTION): Step(None, CheckState.NOMINATED),
    (CheckState.NOMINATING, Word.RECEIVERS_PROOF): Step(None, Verdict.PEER),
    (CheckState.NOMINATING, Word.BUSY): Step(None, Verdict.BUSY),
    (CheckState.NOMINATED, Word.RECEIVERS_PROOF): Step(None, Verdict.PEER),
    (CheckState.NOMINATED, Word.BUSY): Step(None, Verdict.BUSY),
    (CheckState.CHECKING, Word.QUESTION): Step(None, CheckState.ASKING),
    (CheckState.CHECKING, Word.RECEIVERS_PROOF): Step(Word.SENDERS_PROOF, Verdict.PEER),
    (CheckState.CHECKING, Word.BUSY): Step(None, Verdict.BUSY),
    (CheckState.ASKING, Word.RECEIVERS_PROOF): Step(Word.SENDERS_PROOF, Verdict.PEER),
    (CheckState.ASKING, Word.BUSY): Step(None, Verdict.BUSY),
    (CheckState.LISTENING, Word.QUESTION): Step(Word.RECEIVERS_PROOF, CheckState.ANSWERED),
    (CheckState.LISTENING, Word.CHECK): Step(Word.RECEIVERS_PROOF, CheckState.ANSWERED),
    (CheckState.LISTENING, Word.SENDERS_PROOF): Step(Word.RECEIVERS_PROOF, Verdict.PEER),
    (CheckState.ANSWERED, Word.SENDERS_PROOF): Step(None, Verdict.PEER),
    (CheckState.DECLINED, Word.CHECK): Step(Word.BUSY, Verdict.BUSY),
    (CheckState.DECLINED, Word.SENDERS_PROOF): Step(Word.BUSY, Verdict.BUSY),
}


def first_words(proofs: Proofs) -> Iterator[bytes]:
    """By which an accepted connection shows that it is for an introduction."""
    waits_for = OPENINGS[proofs.role, Came.ACCEPTED, False].then
    for state, word in STEPS:
        if state is waits_for and word is not Word.QUESTION:
            yield proofs.words[word]


class Check:
    """The check of one connection that was accepted; :meth:`dialled` makes that of another one.

    A driver sends what :meth:`take_outgoing` gives, receives :attr:`missing` bytes at most, and
    gives them to :meth:`receive`, until there is a verdict. Before it sends anything when
    :attr:`is_nominated`, it makes sure that no other connection is.
    """

    def __init__(self) -> None:
        self._proofs: Proofs | None = None
        self._state: CheckState | Verdict = CheckState.UNTOLD
        self._heard = b""
        self._outgoing = b""
        self._has_asked = False

    @classmethod
    def dialled(cls, proofs: Proofs, *, is_told: bool) -> Self:
        """The check of a connection that was dialled for an introduction.

        Args:
            proofs: the introduction's.
            is_told: whether the broker has named the endpoint, so that no other host is there.
        """
        check = cls()
        check._begin(proofs, Came.DIALLED, is_told=is_told)
        return check

    @property
    def verdict(self) -> Verdict | None:
        """What is known so far; None if nothing is."""
        if isinstance(self._state, Verdict):
            return self._state
        is_nominated = self._state in (CheckState.NOMINATING, CheckState.NOMINATED)
        return Verdict.NOMINATED if is_nominated else None

    @property
    def is_nominated(self) -> bool:
        """Whether the sender has nominated this connection, or does with what is outgoing."""
        return self.verdict in (Verdict.NOMINATED, Verdict.PEER)

    @property
    def missing(self) -> int:
        """How many bytes of the next word have not come yet; 0 if none is to come."""
        return 0 if isinstance(self._state, Verdict) else PROOF_BYTES - len(self._heard)

    @property
    def unknown_word(self) -> bytes:
        """What came first, as a whole, if it is not known for which introduction."""
        is_whole = self._state is CheckState.UNTOLD and not self.missing
        return self._heard if is_whole else b""

    def ask(self) -> None:
        """Ask who is there, unless that was done: this side is the sender of something."""
        if not self._has_asked:
            self._has_asked = True
            self._outgoing += bytes(PROOF_BYTES)

    def introduce(self, proofs: Proofs, *, is_told: bool) -> None:
        """Go on with an accepted connection whose introduction is known now.

        Args:
            proofs: the introduction's.
            is_told: whether it was known by the endpoint, else by :attr:`unknown_word`.
        """
        self._begin(proofs, Came.ACCEPTED, is_told=is_told)

    def decline(self, proofs: Proofs) -> None:
        """Refuse an accepted connection.

        Args:
            proofs: of the introduction, as known by :attr:`unknown_word`.
        """
        self._proofs, self._state = proofs, CheckState.DECLINED
        self._go_on()

    def receive(self, data: bytes) -> None:
        """Take what came.

        Args:
            data: no more than :attr:`missing` bytes; none if the other side has ended.
        """
        assert len(data) <= self.missing
        if not data:
            self.end()
            return
        self._heard += data
        self._go_on()

    def end(self) -> None:
        """Judge by what has come: nothing more does, or not in time."""
        if self._state is CheckState.UNTOLD:
            self._state = Verdict.STRANGER
        elif isinstance(self._state, CheckState):
            assert self._proofs is not None
            words = (self._proofs.words[word] for state, word in STEPS if state is self._state)
            is_right = any(word.startswith(self._heard) for word in words)
            self._state = Verdict.LOST if is_right else Verdict.WRONG_PEER

    def take_outgoing(self) -> bytes:
        """Give what is to be sent to the other side now."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def _begin(self, proofs: Proofs, came: Came, *, is_told: bool) -> None:
        self._proofs = proofs
        self._do(OPENINGS[proofs.role, came, is_told])
        self._go_on()

    def _go_on(self) -> None:
        """Do what a word says that has come as a whole."""
        if self._proofs is None or isinstance(self._state, Verdict) or self.missing:
            return
        word, self._heard = self._proofs.word_of(self._heard), b""
        step = None if word is None else STEPS.get((self._state, word))
        self._do(step or Step(None, Verdict.WRONG_PEER))

    def _do(self, step: Step) -> None:
        self._state = step.then
        if step.says is Word.QUESTION:
            self.ask()
        elif step.says is not None:
            assert self._proofs is not None
            self._outgoing += self._proofs.words[step.says]
