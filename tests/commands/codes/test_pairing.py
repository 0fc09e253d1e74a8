"""Both sides prove that they know the code, on this connection and no other."""

import sys

import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p import PeerId, RemoteProtocolError
from trio_p2p._commands.codes.code import Code
from trio_p2p._commands.codes.pairing import (
    CONFIRMATION_BYTES,
    ELEMENT_BYTES,
    Pairing,
    Side,
    require_codes,
)
from trio_p2p._commands.run import CommandError

ALICE, BOB, MALLORY = (PeerId(bytes([number]) * 23) for number in range(3))
CODE = Code(38412, "otter-lemon-igloo")


def opener(code: Code = CODE, me: PeerId = ALICE, other: PeerId = BOB) -> Pairing:
    return Pairing(Side.OPENER, code, opener=me, owner=other)


def owner(code: Code = CODE, me: PeerId = BOB, other: PeerId = ALICE) -> Pairing:
    return Pairing(Side.OWNER, code, opener=other, owner=me)


def verdicts(one: Pairing, other: Pairing) -> tuple[bool, bool]:
    """What each thinks of the other."""
    of_one = one.hear_element_untrusted(other.element)
    of_other = other.hear_element_untrusted(one.element)
    assert (len(one.element), len(of_one)) == (ELEMENT_BYTES, CONFIRMATION_BYTES)
    return one.is_right(of_other), other.is_right(of_one)


def test_the_same_code() -> None:
    assert verdicts(opener(), owner()) == (True, True)


@pytest.mark.parametrize("wrong", [Code(38412, "otter-lemon-ivory"), Code(38413, CODE.words)])
def test_another_code(wrong: Code) -> None:
    assert verdicts(opener(wrong), owner()) == (False, False)
    assert verdicts(opener(), owner(wrong)) == (False, False)


def test_a_peer_that_passes_everything_on() -> None:
    """TLS has authenticated it to both sides, and it is neither of them."""
    assert verdicts(opener(other=MALLORY), owner(other=MALLORY)) == (False, False)
    assert verdicts(opener(other=MALLORY), owner()) == (False, False)
    assert verdicts(opener(), owner(other=MALLORY)) == (False, False)


def test_what_is_sent_back() -> None:
    """An echo proves nothing."""
    one = opener()
    with pytest.raises(RemoteProtocolError):
        one.hear_element_untrusted(one.element)
    one, other = opener(), owner()
    confirmation = one.hear_element_untrusted(other.element)
    other.hear_element_untrusted(one.element)
    assert not one.is_right(confirmation)


def test_two_openers() -> None:
    assert verdicts(opener(), opener()) == (False, False)


def test_nothing_is_said_twice() -> None:
    """What was recorded is of no use."""
    assert len({opener().element for _ in range(10)}) == 10


@pytest.mark.parametrize(
    "element",
    [
        bytes(32),
        b"\xff" * 32,
        (1).to_bytes(32, "little"),
        (2).to_bytes(32, "little"),
        b"",
        b"x" * 31,
    ],
    ids=lambda element: element.hex()[:8],
)
def test_elements_that_are_none(element: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="does not prove that it knows the code"):
        owner().hear_element_untrusted(element)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_any_element(element: bytes) -> None:
    pairing = owner()
    try:
        pairing.hear_element_untrusted(element)
    except RemoteProtocolError:
        return
    assert not pairing.is_right(bytes(32))


@pytest.mark.parametrize("confirmation", [b"", bytes(31), bytes(32), bytes(33)])
def test_confirmations_that_are_none(confirmation: bytes) -> None:
    one, other = opener(), owner()
    one.hear_element_untrusted(other.element)
    assert not one.is_right(confirmation)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spake2", None)
    with pytest.raises(CommandError, match=r"install trio-p2p\[tools\], or agree on a UID instead"):
        require_codes()
