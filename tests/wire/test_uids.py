"""UIDs and names of protocols that callers hand in, checked."""

from typing import Any

import pytest

from trio_p2p import LocalProtocolError, PeerId
from trio_p2p._wire.uids import parse_protocol, parse_uid

ALICE = PeerId.of_public_key(bytes(32))


@pytest.mark.parametrize("uid", ["a", "alice", "Zoë 🦊", "a b", "x" * 128, "ä" * 64, "../..", "'"])
def test_uid(uid: str) -> None:
    assert parse_uid(uid) == uid


@pytest.mark.parametrize(
    ("uid", "sentence"),
    [
        ("", "'' is no UID: a UID must not be empty"),
        ("x" * 129, "a UID must not be longer than 128 bytes in UTF-8"),
        ("ä" * 65, "a UID must not be longer than 128 bytes in UTF-8"),
        ("a\nb", r"'a\nb' is no UID: a UID must not contain control characters"),
        ("a\x00", "a UID must not contain control characters"),
        ("a\x7f", "a UID must not contain control characters"),
        ("\x1b[2J", "a UID must not contain control characters"),
        ("a\u202eb", "a UID must not contain control characters"),  # right-to-left override
        ("\ud800", "a UID must not contain control characters"),  # cannot be encoded
        (b"alice", "b'alice' is no UID: a UID is text, not bytes"),
        (5, "5 is no UID: a UID is text, not int"),
        (None, "None is no UID: a UID is text, not NoneType"),
    ],
)
def test_bad_uid(uid: str, sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_uid(uid)
    assert sentence in str(caught.value)


def test_what_cannot_be_shown_is_not_repeated() -> None:
    itself: list[object] = []
    for _ in range(100_000):
        itself = [itself]
    hopeless: list[Any] = [10**5000, itself]
    for uid in hopeless:
        with pytest.raises(LocalProtocolError, match=f"^this {type(uid).__name__} is no UID"):
            parse_uid(uid)


def test_uid_may_be_a_peer_id() -> None:
    assert parse_uid(ALICE) == parse_uid(str(ALICE)) == str(ALICE)


def test_uid_that_looks_like_a_peer_id_has_to_be_one() -> None:
    mistyped = str(ALICE)[:-1] + ("a" if str(ALICE)[-1] != "a" else "b")
    with pytest.raises(LocalProtocolError) as caught:
        parse_uid(mistyped)
    assert mistyped in str(caught.value)


def test_long_uid_is_not_repeated_at_length() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_uid("x" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["", "chat", "echo/1", "Zoë 🦊", "x" * 128, "ä" * 64])
def test_protocol(name: str) -> None:
    assert parse_protocol(name) == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 129, "it must not be longer than 128 bytes in UTF-8"),
        ("ä" * 65, "it must not be longer than 128 bytes in UTF-8"),
        ("a\nb", r"'a\nb' is no name of a protocol: it must not contain control characters"),
        ("a\x00", "it must not contain control characters"),
        ("\ud800", "it must not contain control characters"),  # cannot be encoded
        (b"chat", "b'chat' is no name of a protocol: it is text, not bytes"),
        (None, "None is no name of a protocol: it is text, not NoneType"),
    ],
)
def test_bad_protocol(name: str, sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_protocol(name)
    assert sentence in str(caught.value)
