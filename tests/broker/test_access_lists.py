"""Lists of peers, UIDs and revoked tokens, line by line."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from trio_p2p import LocalProtocolError, PeerId
from trio_p2p._broker.access_lists import NO_ENTRIES, parse_entries, parse_revoked

ALICE = PeerId.of_public_key(bytes(32))


def test_entries_and_comments() -> None:
    entries = parse_entries(
        ["# ours", "", f"{ALICE}  # alice", "  printer ", "a#b", "team-*", "\tteam-*\t#twice"]
    )
    assert entries.peers == {ALICE}
    assert entries.names == {"printer", "a#b"}
    assert entries.patterns == ("team-*",)
    assert [entries.names_uid(uid) for uid in ("printer", "team-7", "team", str(ALICE))] == [
        True,
        True,
        False,
        False,
    ]


def test_nothing() -> None:
    assert parse_entries(["", "# nothing"]) == NO_ENTRIES
    assert not NO_ENTRIES
    assert parse_revoked([]) == frozenset()


@pytest.mark.parametrize(
    "line", [f"{ALICE}"[:-1] + "a", "a\x00b", "x" * 129], ids=["typo", "control", "long"]
)
def test_a_wrong_line_is_named(line: str) -> None:
    with pytest.raises(LocalProtocolError, match="line 2: "):
        parse_entries(["alice", line])


def test_revoked() -> None:
    assert parse_revoked(["0011223344556677 # lost", "AABBCCDDEEFF0011"]) == {
        bytes.fromhex("0011223344556677"),
        bytes.fromhex("aabbccddeeff0011"),
    }


@pytest.mark.parametrize("line", ["00", "0011223344556677 88", "x" * 16, "tp2p_AAAA"])
def test_what_is_no_id(line: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"line 1: .* is no id of a token"):
        parse_revoked([line])


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_is_a_list_or_raises_one_exception(lines: list[str]) -> None:
    for parse in (parse_entries, parse_revoked):
        with suppress(LocalProtocolError):
            parse(lines)
