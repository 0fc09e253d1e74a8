"""The table of the connectivity check: each row, both sides played against each other, and fuzz."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from trio_p2p._traversal.check import (
    OPENINGS,
    STEPS,
    Came,
    Check,
    CheckState,
    Step,
    Verdict,
    first_words,
)
from trio_p2p._traversal.proofs import PROOF_BYTES, Role, Word, proofs
from trio_p2p._wire.messages import NONCE_BYTES

NONCE = b"n" * NONCE_BYTES
SIDES = {role: proofs(NONCE, role) for role in Role}
WORDS = SIDES[Role.SENDER].words
WRONG = b"W" * PROOF_BYTES


def opened(role: Role, came: Came, *, is_told: bool) -> Check:
    if came is Came.DIALLED:
        return Check.dialled(SIDES[role], is_told=is_told)
    check = Check()
    check.introduce(SIDES[role], is_told=is_told)
    return check


def said(check: Check) -> list[Word | None]:
    """The words that a check has to send."""
    return words_of(check.take_outgoing())


def words_of(outgoing: bytes) -> list[Word | None]:
    starts = range(0, len(outgoing), PROOF_BYTES)
    return [SIDES[Role.SENDER].word_of(outgoing[start:][:PROOF_BYTES]) for start in starts]


def answered() -> Check:
    check = opened(Role.RECEIVER, Came.DIALLED, is_told=True)
    check.receive(WORDS[Word.QUESTION])
    return check


def declined() -> Check:
    check = Check()
    check.decline(SIDES[Role.RECEIVER])
    return check


IN_STATE: dict[CheckState, Callable[[], Check]] = {
    CheckState.UNTOLD: Check,
    CheckState.NOMINATING: lambda: opened(Role.SENDER, Came.DIALLED, is_told=True),
    CheckState.NOMINATED: lambda: opened(Role.SENDER, Came.ACCEPTED, is_told=True),
    CheckState.CHECKING: lambda: opened(Role.SENDER, Came.DIALLED, is_told=False),
    CheckState.ASKING: lambda: opened(Role.SENDER, Came.ACCEPTED, is_told=False),
    CheckState.LISTENING: lambda: opened(Role.RECEIVER, Came.ACCEPTED, is_told=False),
    CheckState.ANSWERED: answered,
    CheckState.DECLINED: declined,
}
KNOWN = [state for state in CheckState if state is not CheckState.UNTOLD]


def name_of(row: object) -> str:
    return row.name if isinstance(row, (Role, Came, CheckState, Word)) else repr(row)


@pytest.mark.parametrize(("role", "came", "is_told"), [*OPENINGS], ids=name_of)
def test_opening(role: Role, came: Came, is_told: bool) -> None:
    step = OPENINGS[role, came, is_told]
    check = opened(role, came, is_told=is_told)
    assert said(check) == [word for word in [step.says] if word is not None]
    assert check.take_outgoing() == b""
    assert check.missing == PROOF_BYTES
    is_nominated = step.says is Word.SENDERS_PROOF
    assert check.is_nominated is is_nominated
    assert check.verdict is (Verdict.NOMINATED if is_nominated else None)


def test_there_is_an_opening_for_every_connection() -> None:
    assert set(OPENINGS) == set(itertools.product(Role, Came, [True, False]))


@pytest.mark.parametrize(("state", "word"), [*itertools.product(KNOWN, Word)], ids=name_of)
@pytest.mark.parametrize("piece", [1, 31, 32])
def test_step(state: CheckState, word: Word, piece: int) -> None:
    check = IN_STATE[state]()
    check.take_outgoing()
    left = WORDS[word]
    while left:
        check.receive(left[:piece])
        left = left[piece:]
    step = STEPS.get((state, word), Step(None, Verdict.WRONG_PEER))
    assert said(check) == [each for each in [step.says] if each is not None]
    if isinstance(step.then, Verdict):
        assert (check.verdict, check.missing) == (step.then, 0)
    else:
        assert check.missing == PROOF_BYTES
        assert check.verdict is IN_STATE[step.then]().verdict


@pytest.mark.parametrize("state", KNOWN, ids=name_of)
def test_other_words_are_a_wrong_peers(state: CheckState) -> None:
    check = IN_STATE[state]()
    check.receive(WRONG)
    assert check.verdict is Verdict.WRONG_PEER


@pytest.mark.parametrize(("state", "word"), [*STEPS], ids=name_of)
@pytest.mark.parametrize("count", [0, 1, PROOF_BYTES - 1])
def test_connection_that_ends_before_anything_wrong_was_said_is_lost(
    state: CheckState, word: Word, count: int
) -> None:
    check = IN_STATE[state]()
    if count:
        check.receive(WORDS[word][:count])
    check.receive(b"")
    assert check.verdict is Verdict.LOST
    check.end()  # nothing more can change
    assert check.verdict is Verdict.LOST


@pytest.mark.parametrize("state", KNOWN, ids=name_of)
def test_connection_that_ends_with_something_wrong_is_a_wrong_peers(state: CheckState) -> None:
    check = IN_STATE[state]()
    check.receive(b"GET /")
    check.end()
    assert check.verdict is Verdict.WRONG_PEER


@pytest.mark.parametrize("heard", [b"", b"G", WRONG])
def test_connection_for_no_introduction_is_a_strangers(heard: bytes) -> None:
    check = Check()
    if heard:
        check.receive(heard)
    assert check.unknown_word == (heard if heard == WRONG else b"")
    check.end()
    assert (check.verdict, check.missing, check.take_outgoing()) == (Verdict.STRANGER, 0, b"")


def test_side_asks_once() -> None:
    check = Check()
    check.ask()
    check.ask()
    assert said(check) == [Word.QUESTION]
    check.introduce(SIDES[Role.SENDER], is_told=False)
    assert said(check) == []


@pytest.mark.parametrize("state", [CheckState.NOMINATING, CheckState.CHECKING], ids=name_of)
def test_second_question_is_not_skipped(state: CheckState) -> None:
    check = IN_STATE[state]()
    check.receive(WORDS[Word.QUESTION])
    assert check.missing
    check.receive(WORDS[Word.QUESTION])
    assert check.verdict is Verdict.WRONG_PEER


def test_first_words_tell_introductions_apart() -> None:
    assert set(first_words(SIDES[Role.RECEIVER])) == {
        WORDS[Word.CHECK],
        WORDS[Word.SENDERS_PROOF],
    }
    assert WORDS[Word.QUESTION] not in set(first_words(SIDES[Role.SENDER]))
    assert WORDS[Word.RECEIVERS_PROOF] in set(first_words(SIDES[Role.SENDER]))


class Side:
    """One side of a connection, driven as a port and a race do it.

    Args:
        role: ours.
        came: how the connection came about.
        is_told: whether this side was told of the other's endpoint.
        asks: whether the port is the sender of another introduction, too.
        known_at: in which turn an accepted connection's introduction becomes known.
        is_declined: whether this side declines the introduction.
    """

    def __init__(
        self,
        role: Role,
        came: Came,
        *,
        is_told: bool,
        asks: bool = False,
        known_at: int = 0,
        is_declined: bool = False,
    ) -> None:
        self.check = (
            Check.dialled(SIDES[role], is_told=is_told) if came is Came.DIALLED else Check()
        )
        self.inbox = b""
        self.said: list[Word | None] = []
        self._role = role
        self._is_told = is_told
        self._asks = asks
        self._known_at = known_at
        self._is_known = came is Came.DIALLED
        self._is_declined = is_declined

    def take_turn(self, turn: int, piece: int, other: "Side") -> None:
        if not self._is_known:
            self._look(is_introduced=turn >= self._known_at)
        heard = self.inbox[: min(piece, self.check.missing)]
        if heard:
            self.inbox = self.inbox[len(heard) :]
            self.check.receive(heard)
        outgoing = self.check.take_outgoing()
        other.inbox += outgoing
        self.said += words_of(outgoing)

    def _look(self, *, is_introduced: bool) -> None:
        """Do what a shared port does with a connection that it does not know."""
        is_right = self.check.unknown_word in first_words(SIDES[self._role])
        if is_introduced and self._is_declined and is_right:
            self.check.decline(SIDES[self._role])
        elif is_introduced and not self._is_declined and (self._is_told or is_right):
            self.check.introduce(SIDES[self._role], is_told=self._is_told)
        else:
            if self._asks or (is_introduced and self._role is Role.SENDER):
                self.check.ask()
            return
        self._is_known = True


# How the sender and the receiver came by the connection, and whether the receiver has declined: it
# does not dial then. Both dial in a simultaneous open.
CONNECTIONS = [
    (Came.DIALLED, Came.ACCEPTED, False),
    (Came.DIALLED, Came.ACCEPTED, True),
    (Came.ACCEPTED, Came.DIALLED, False),
    (Came.DIALLED, Came.DIALLED, False),
]
TURNS = 600


@pytest.mark.parametrize("piece", [1, 20, 32])
@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("are_told", [*itertools.product([True, False], repeat=2)])
@pytest.mark.parametrize("asks", [True, False])
def test_two_sides_come_to_the_same_verdict(
    piece: int, connection: tuple[Came, Came, bool], are_told: tuple[bool, bool], asks: bool
) -> None:
    senders, receivers, is_declined = connection
    is_sender_told, is_receiver_told = are_told
    for known_at, starts in itertools.product([0, 1, 2, 20, 33, 70, 150], [0, 1]):
        sender = Side(Role.SENDER, senders, is_told=is_sender_told, asks=asks, known_at=known_at)
        receiver = Side(
            Role.RECEIVER,
            receivers,
            is_told=is_receiver_told,
            asks=asks,
            known_at=known_at,
            is_declined=is_declined,
        )
        sides = [sender, receiver]
        for turn in range(TURNS):
            this, other = sides[(turn + starts) % 2], sides[(turn + starts + 1) % 2]
            this.take_turn(turn, piece, other)
        expected = Verdict.BUSY if is_declined else Verdict.PEER
        assert (sender.check.verdict, receiver.check.verdict) == (expected, expected)
        assert (sender.inbox, receiver.inbox) == (b"", b"")  # all was read: nothing is reset
        nominations = sender.said.count(Word.SENDERS_PROOF)
        assert nominations == (is_sender_told if is_declined else 1)
        assert receiver.said.count(Word.RECEIVERS_PROOF) == (not is_declined)
        assert None not in sender.said + receiver.said


@pytest.mark.parametrize("came", [Came.ACCEPTED, Came.DIALLED])
def test_sender_that_was_told_nominates_in_its_first_turn(came: Came) -> None:
    sender = Side(Role.SENDER, came, is_told=True)
    sender.take_turn(0, PROOF_BYTES, Side(Role.RECEIVER, Came.DIALLED, is_told=True))
    assert sender.said == [Word.SENDERS_PROOF]


pieces = st.lists(
    st.one_of(st.binary(min_size=1, max_size=3 * PROOF_BYTES), st.sampled_from([*WORDS.values()])),
    max_size=6,
)


def feed(check: Check, data: bytes, sizes: list[int]) -> int:
    """Give bytes to a check as a driver does; how many it has taken."""
    taken = 0
    for size in itertools.chain(sizes, itertools.repeat(PROOF_BYTES)):
        count = min(size, check.missing, len(data) - taken)
        if not count:
            break
        check.receive(data[taken : taken + count])
        taken += count
    check.end()
    return taken


@given(
    st.sampled_from(CheckState),
    pieces.map(b"".join),
    st.lists(st.integers(1, 2 * PROOF_BYTES), max_size=20),
)
def test_any_bytes_in_any_pieces_end_in_a_verdict(
    state: CheckState, data: bytes, sizes: list[int]
) -> None:
    check = IN_STATE[state]()
    check.take_outgoing()
    taken = feed(check, data, sizes)
    assert isinstance(check.verdict, Verdict)
    assert check.verdict is not Verdict.NOMINATED
    assert check.missing == 0
    assert taken <= 2 * PROOF_BYTES  # of memory, half of that
    assert len(check.take_outgoing()) <= PROOF_BYTES
    if check.verdict is Verdict.PEER:
        proven = {WORDS[Word.SENDERS_PROOF], WORDS[Word.RECEIVERS_PROOF]}
        assert data[taken - PROOF_BYTES : taken] in proven


@given(st.sampled_from(KNOWN), st.binary(max_size=4 * PROOF_BYTES))
def test_bytes_of_others_prove_nothing(state: CheckState, data: bytes) -> None:
    check = IN_STATE[state]()
    feed(check, data, [])
    assert check.verdict in (Verdict.LOST, Verdict.WRONG_PEER)
