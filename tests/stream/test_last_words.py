"""Why a relay ended a circuit: found behind the circuit's id, whatever precedes and follows."""

import pytest
from hypothesis import given, strategies as st

from trio_p2p._errors import BrokerLostError, RelayError
from trio_p2p._stream.last_words import last_words_untrusted
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import ID_BYTES, KeepAlive, RefusalCode, Refused

CIRCUIT = bytes(range(ID_BYTES))
WORDS = encode(Refused(RefusalCode.RELAY_REFUSED, "the quota is used up"))


@given(st.binary(max_size=100))
def test_the_reason_is_found_behind_any_ciphertext(ciphertext: bytes) -> None:
    error = last_words_untrusted(ciphertext + CIRCUIT + WORDS, CIRCUIT)
    assert isinstance(error, RelayError)
    assert str(error) == "the quota is used up"


def test_relay_that_is_stopped_may_be_asked_again() -> None:
    words = encode(Refused(RefusalCode.BUSY, "the broker was stopped"))
    error = last_words_untrusted(CIRCUIT + words, CIRCUIT)
    assert isinstance(error, BrokerLostError)
    assert str(error) == "the broker was stopped"


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_bytes_raise_nothing(before: bytes, behind: bytes) -> None:
    assert last_words_untrusted(before, CIRCUIT) is None
    last_words_untrusted(before + CIRCUIT + behind, CIRCUIT)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        WORDS,
        CIRCUIT,
        CIRCUIT + WORDS[:-1],
        CIRCUIT + encode(KeepAlive()),
        CIRCUIT + b"\xc1" + WORDS,
        CIRCUIT + b"\xc4\x01\xc1",
        bytes(ID_BYTES) + WORDS,
    ],
    ids=[
        "nothing",
        "no circuit",
        "no words",
        "cut words",
        "another message",
        "no frame",
        "no message",
        "another circuit",
    ],
)
def test_what_are_no_last_words_is_not_believed(tail: bytes) -> None:
    assert last_words_untrusted(tail, CIRCUIT) is None
