"""The words by which two peers prove that they are the introduced ones."""

import hashlib
import hmac

import pytest
from hypothesis import given, strategies as st

from trio_p2p._traversal.proofs import PROOF_BYTES, Proofs, Role, Word, proofs
from trio_p2p._wire.messages import NONCE_BYTES

TEXTS = {
    Word.CHECK: b"trio_p2p check",
    Word.SENDERS_PROOF: b"trio_p2p sender",
    Word.RECEIVERS_PROOF: b"trio_p2p receiver",
    Word.BUSY: b"trio_p2p busy",
}
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


@given(nonces)
def test_both_sides_have_the_same_words(nonce: bytes) -> None:
    assert proofs(nonce, Role.SENDER).words == proofs(nonce, Role.RECEIVER).words


@given(nonces)
def test_no_two_words_are_the_same(nonce: bytes) -> None:
    words = proofs(nonce, Role.SENDER).words
    assert len(set(words.values())) == len(Word)
    assert {len(said) for said in words.values()} == {PROOF_BYTES}


@given(nonces, nonces)
def test_introductions_have_their_own_words(one: bytes, other: bytes) -> None:
    ones, others = (proofs(nonce, Role.SENDER).words for nonce in (one, other))
    shared = {word for word in Word if ones[word] == others[word]}
    assert shared == (set(Word) if one == other else {Word.QUESTION})


@pytest.mark.parametrize("word", TEXTS)
def test_word_is_the_hmac_that_the_specification_says(word: Word) -> None:
    nonce = bytes(range(NONCE_BYTES))
    expected = hmac.new(nonce, TEXTS[word], hashlib.sha256).digest()
    assert proofs(nonce, Role.SENDER).words[word] == expected


def test_question_is_zero_bytes_as_it_is_for_no_introduction_yet() -> None:
    assert proofs(b"n" * NONCE_BYTES, Role.SENDER).words[Word.QUESTION] == bytes(PROOF_BYTES)


@given(nonces, st.sampled_from(Word))
def test_word_is_known_by_its_bytes(nonce: bytes, word: Word) -> None:
    made = proofs(nonce, Role.RECEIVER)
    assert made.word_of(made.words[word]) is word
    assert made.word_of(made.words[word][:-1]) is None
    assert made.word_of(b"W" * PROOF_BYTES) is None


@pytest.mark.parametrize("role", Role)
def test_other_role(role: Role) -> None:
    assert role.other is not role
    assert role.other.other is role


def test_secrets_are_not_shown() -> None:
    assert repr(proofs(bytes(NONCE_BYTES), Role.SENDER)) == repr(Proofs(Role.SENDER, {}))
