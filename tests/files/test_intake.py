"""What comes is the same, however it is cut."""

import pytest
from hypothesis import given, strategies as st

from trio_p2p import RemoteProtocolError
from trio_p2p._files.intake import Intake
from trio_p2p._files.messages import Begin, End, Failed, Message, Piece, encode

from .offers import random_bytes, said

FLAT: list[Message | bytes] = [Begin(0)]
for length in (1, 5, 4095, 4096, 4097, 20_000):
    FLAT += [Piece(length), random_bytes(length)]
FLAT += [End(bytes(32)), Begin(1, bytes(32)), Failed("x" * 500), Piece(3), b"abc", End(bytes(32))]
DATA = said(*FLAT)
CONTENT = b"".join(each for each in FLAT if isinstance(each, bytes))
OTHERS = [each for each in FLAT if not isinstance(each, bytes | Piece)]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_any_pieces(lengths: list[int]) -> None:
    intake = Intake()
    rest, content, messages = DATA, b"", []
    while rest:
        length = lengths.pop() if lengths else len(rest)
        for each in intake.take_untrusted(bytearray(rest[:length])):
            if isinstance(each, memoryview):
                content += each
            else:
                messages.append(each)
        rest = rest[length:]
    assert intake.is_between_messages
    assert content == CONTENT
    assert messages == OTHERS


@pytest.mark.parametrize("cut", [1, len(encode(Piece(5))), len(encode(Piece(5))) + 4])
def test_what_is_cut_short(cut: int) -> None:
    intake = Intake()
    list(intake.take_untrusted(said(Piece(5), b"12345")[:cut]))
    assert not intake.is_between_messages


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    intake = Intake()
    try:
        for _ in intake.take_untrusted(data):
            pass
    except RemoteProtocolError:
        pass
