"""Access tokens: what they say, who has signed them, and that hostile bytes raise one exception."""

import re
from contextlib import suppress
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, strategies as st

from trio_p2p import LocalProtocolError, PeerId, RemoteProtocolError
from trio_p2p._identity.access_token import (
    MAX_EXPIRY,
    MAX_PATTERN_BYTES,
    MAX_TOKEN_BYTES,
    MIN_TOKEN_BYTES,
    TOKEN_ID_BYTES,
    AccessToken,
    Use,
    check_token_untrusted,
    parse_token,
    read_token_untrusted,
    token_text,
)

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
PUBLIC, OTHER_PUBLIC = (key.public_key().public_bytes_raw() for key in (KEY, OTHER_KEY))
ALICE = PeerId.of_public_key(bytes(32))
PLAIN = AccessToken(bytes(TOKEN_ID_BYTES), frozenset(Use), 1_893_456_000)
BOUND = attrs.evolve(PLAIN, uses=frozenset({Use.ASK}), peer_id=ALICE, pattern="team-*")

_printable = st.characters(categories=["L", "N", "P", "S"])
tokens = st.builds(
    AccessToken,
    st.binary(min_size=TOKEN_ID_BYTES, max_size=TOKEN_ID_BYTES),
    st.sets(st.sampled_from(Use), min_size=1).map(frozenset),
    st.integers(0, MAX_EXPIRY - 1),
    st.none() | st.builds(PeerId, st.binary(min_size=23, max_size=23)),
    st.none() | st.text(_printable, min_size=1, max_size=MAX_PATTERN_BYTES // 4),
)


@given(tokens)
@example(PLAIN)
@example(BOUND)
def test_a_token_says_what_was_signed(token: AccessToken) -> None:
    data = token.sign(KEY)
    assert MIN_TOKEN_BYTES <= len(data) <= MAX_TOKEN_BYTES
    assert read_token_untrusted(data) == token
    assert check_token_untrusted(data, [OTHER_PUBLIC, PUBLIC]) == token
    assert parse_token(token_text(data)) == data


@given(tokens)
def test_a_token_is_safe_in_a_shell_and_in_a_variable(token: AccessToken) -> None:
    assert re.fullmatch("tp2p_[A-Za-z0-9_-]+", token_text(token.sign(KEY)))


def test_a_token_of_another_key_is_none() -> None:
    for keys in ([], [OTHER_PUBLIC]):
        with pytest.raises(RemoteProtocolError, match="no key that this broker knows has signed"):
            check_token_untrusted(PLAIN.sign(KEY), keys)


@pytest.mark.parametrize("token", [PLAIN, BOUND], ids=["plain", "bound"])
def test_each_changed_byte_makes_a_token_void(token: AccessToken) -> None:
    data = token.sign(KEY)
    for index in range(len(data)):
        for bit in (1, 128):
            changed = data[:index] + bytes([data[index] ^ bit]) + data[index + 1 :]
            with pytest.raises(RemoteProtocolError):
                check_token_untrusted(changed, [PUBLIC])
        with pytest.raises(RemoteProtocolError):
            check_token_untrusted(data[:index], [PUBLIC])
    with pytest.raises(RemoteProtocolError):
        check_token_untrusted(data + b"\0", [PUBLIC])


@given(st.binary(max_size=MAX_TOKEN_BYTES + 8) | st.binary(max_size=200).map(lambda b: b"\1" + b))
def test_hostile_bytes_raise_one_exception(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        read_token_untrusted(data)
    with pytest.raises(RemoteProtocolError):
        check_token_untrusted(data, [PUBLIC])


@given(st.data())
def test_a_token_has_one_form(data: st.DataObject) -> None:
    token = PLAIN.sign(KEY)
    index = data.draw(st.integers(0, len(token) - 65))
    changed = token[:index] + data.draw(st.binary(max_size=30)) + token[index + 1 :]
    with suppress(RemoteProtocolError):
        assert read_token_untrusted(changed).sign(KEY)[:-64] == changed[:-64]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tp2p_",
        "tp2p_AAAA",
        "TP2P_" + token_text(PLAIN.sign(KEY))[5:],
        token_text(PLAIN.sign(KEY)) + "=",
        token_text(PLAIN.sign(KEY)) + " ",
        token_text(PLAIN.sign(KEY))[:-1],
        "tp2p_é" + "A" * 110,
        5,
        b"tp2p_",
        None,
    ],
    ids=repr,
)
def test_bad_texts(text: object) -> None:
    with pytest.raises(LocalProtocolError, match="this is no access token") as caught:
        parse_token(text)
    assert token_text(PLAIN.sign(KEY))[5:] not in str(caught.value)  # it may be a secret


@given(st.text(max_size=50).map(lambda text: "tp2p_" + text) | st.text(max_size=200))
def test_any_text_is_a_token_or_raises_one_exception(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        parse_token(text)


@pytest.mark.parametrize(
    ("pattern", "uid", "is_covered"),
    [
        (None, "anything", True),
        ("team-*", "team-7", True),
        ("team-*", "steam-7", False),
        ("alice", "alice", True),
        ("alice", "Alice", False),
        ("printer-?", "printer-12", False),
    ],
)
def test_patterns(pattern: str | None, uid: str, *, is_covered: bool) -> None:
    assert attrs.evolve(PLAIN, pattern=pattern).covers(uid) is is_covered


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": b""},
        {"uses": frozenset[Use]()},
        {"expires_at": -1},
        {"expires_at": MAX_EXPIRY},
        {"pattern": ""},
        {"pattern": "x" * (MAX_PATTERN_BYTES + 1)},
        {"pattern": "a\nb"},
    ],
    ids=repr,
)
def test_what_no_token_says(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        attrs.evolve(PLAIN, **changes)
