"""Peer ids and their text."""

import hashlib

import pytest
from hypothesis import given, strategies as st

from trio_p2p._errors import LocalProtocolError
from trio_p2p._identity.peer_id import PeerId, looks_like_peer_id

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
DIGESTS = st.binary(min_size=23, max_size=23)
PEER_ID = PeerId.of_public_key(bytes(range(32)))
TEXT = "p2pmmg42klgyqzwneiskrelxms3j72bfje4omw3ehuc"


def test_the_text_of_a_peer_id_never_changes() -> None:
    assert str(PEER_ID) == TEXT
    assert repr(PEER_ID) == f"PeerId('{TEXT}')"


def test_a_peer_id_is_the_beginning_of_the_hash_of_the_key() -> None:
    assert PEER_ID.digest == hashlib.sha256(bytes(range(32))).digest()[:23]


@given(DIGESTS)
def test_the_text_of_a_peer_id_is_parsed(digest: bytes) -> None:
    peer_id = PeerId(digest)
    assert len(str(peer_id)) == 43
    assert looks_like_peer_id(str(peer_id))
    assert PeerId.parse(str(peer_id)) == peer_id


@given(DIGESTS, DIGESTS)
def test_peer_ids_are_ordered_and_hashable(first: bytes, second: bytes) -> None:
    assert (PeerId(first) < PeerId(second)) == (first < second)
    assert (hash(PeerId(first)) == hash(PeerId(second))) == (first == second)


def test_every_typo_of_one_character_is_found() -> None:
    for position in range(3, len(TEXT)):
        for character in ALPHABET.replace(TEXT[position], ""):
            typo = TEXT[:position] + character + TEXT[position + 1 :]
            assert looks_like_peer_id(typo)
            with pytest.raises(LocalProtocolError, match="copy it again"):
                PeerId.parse(typo)


@given(st.text(ALPHABET, min_size=40, max_size=40).map("p2p".__add__))
def test_what_looks_like_a_peer_id_is_none_unless_its_checksum_fits(text: str) -> None:
    assert looks_like_peer_id(text)
    try:
        parsed = PeerId.parse(text)
    except LocalProtocolError:
        return
    assert str(parsed) == text


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    assert not looks_like_peer_id(text)
    with pytest.raises(LocalProtocolError, match="is not a peer id"):
        PeerId.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[3:],
        TEXT[:-1],
        TEXT + "a",
        TEXT + "\n",
        " " + TEXT,
        TEXT.upper(),
        "p2p" + TEXT[3:].upper(),
        TEXT[:-1] + "1",
        TEXT[:-1] + "=",
        TEXT[:-1] + "２",  # noqa: RUF001 - a digit, but none of the alphabet
    ],
)
def test_a_peer_id_has_one_way_to_be_written(text: str) -> None:
    assert not looks_like_peer_id(text)
    with pytest.raises(LocalProtocolError, match="copy all of it"):
        PeerId.parse(text)


@pytest.mark.parametrize("length", [0, 22, 24, 32])
def test_a_digest_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"23 bytes, not {length}"):
        PeerId(bytes(length))
