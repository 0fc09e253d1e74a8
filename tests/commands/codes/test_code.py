"""Codes: what they are made of, and what users type."""

import re

import pytest
from hypothesis import given, strategies as st

from trio_p2p import LocalProtocolError
from trio_p2p._commands.codes.code import WORD_COUNT, Code, looks_like_code
from trio_p2p._commands.codes.words import WORDS
from trio_p2p._wire.uids import parse_uid


def test_the_words() -> None:
    """Eight bits each, if none is there twice."""
    assert len(WORDS) == len(set(WORDS)) == 256
    assert len({word[:4] for word in WORDS}) == 256
    assert all(re.fullmatch("[a-z]{3,9}", word) for word in WORDS)


def test_codes_are_all_different() -> None:
    codes = {Code.make() for _ in range(1000)}
    assert len(codes) == 1000
    assert {word for code in codes for word in code.words.split("-")} == set(WORDS)
    for code in codes:
        assert Code.parse(str(code)) == code
        assert looks_like_code(str(code))
        assert parse_uid(code.uid) == code.uid
        assert len(code.words.split("-")) == WORD_COUNT
        assert code.words not in repr(code) + code.uid


@pytest.mark.parametrize("text", ["38412-OTTER-Lemon-igloo", " 38412-otter-lemon-igloo\n"])
def test_what_users_type(text: str) -> None:
    assert Code.parse(text) == Code(38412, "otter-lemon-igloo")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "38412",
        "38412-otter",
        "38412-otter-lemon",
        "3841-otter-lemon-igloo",
        "otter-lemon-igloo",
    ],
)
def test_what_is_no_code(text: str) -> None:
    assert not looks_like_code(text)
    with pytest.raises(LocalProtocolError, match="is no code, which is a number and 3 words"):
        Code.parse(text)


def test_a_word_that_no_code_has() -> None:
    text = "38412-otter-lemons-igloo"
    assert looks_like_code(text)
    with pytest.raises(LocalProtocolError, match="no code has the word 'lemons'"):
        Code.parse(text)


@given(st.text(max_size=50))
def test_any_text(text: str) -> None:
    if not looks_like_code(text):
        with pytest.raises(LocalProtocolError):
            Code.parse(text)
