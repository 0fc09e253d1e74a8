"""Names that lead somewhere else are refused; those that people have are not."""

import pytest
from hypothesis import given, strategies as st

from trio_p2p import RemoteProtocolError
from trio_p2p._files.intake import Intake
from trio_p2p._files.messages import Offer
from trio_p2p._files.names import MAX_NAME_BYTES, check_name, folded

from .hostile_names import HOSTILE_NAMES, SENT_NAMES
from .offers import frame, said

GOOD_NAMES = [
    "report.pdf",
    ".profile",
    "..data",
    "...x",
    "a b",
    " leading",
    "-rf",
    "~",
    "$HOME",
    "%s",
    "10:30.png",
    "what?",
    "Größe",
    "at 10.00\u202fAM.png",
    "👨\u200d👩\u200d👧.png",
    "写真",
    "👩\u200d👧.jpg",  # with a joiner in it
    "x" * MAX_NAME_BYTES,
    "console",
    "com10",
    "nul_",
    "auxiliary.txt",
    ".trio-p2p",
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_that_people_have(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_hostile_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as caught:
        check_name(name)
    assert str(caught.value).isascii() or "’" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("value", [None, 1, b"name", ["name"], True])
def test_what_is_no_text(value: object) -> None:
    with pytest.raises(ValueError, match="a name is text"):
        check_name(value)


@pytest.mark.parametrize("name", SENT_NAMES, ids=ascii)
def test_a_hostile_name_in_an_offer_is_one_error(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"a bad name: '|no msgpack of ours|\d bytes"):
        list(Intake().take_untrusted(said(Offer(1)) + frame({"type": "listed", "name": name})))


@given(st.text(max_size=40))
def test_what_is_accepted_stays_in_its_folder(name: str) -> None:
    try:
        check_name(name)
    except ValueError:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0\n\r\x1b")
    assert name.encode().decode() == name


def test_names_that_some_systems_hold_for_one() -> None:
    assert folded("STRASSE") == folded("straße")
    assert folded("é") == folded("e\u0301") == folded("É")
    assert folded("a") != folded("b")
