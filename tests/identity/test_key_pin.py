"""The pin of a key: of any bytes there is one or none."""

import pytest
from hypothesis import given, strategies as st

from trio_p2p._identity.key_pin import pin_of_untrusted

from ..kit.raw_client import identity_of


def test_a_pin_is_of_the_key() -> None:
    pins = {pin_of_untrusted(identity_of(name).certificate) for name in ("alice", "bob", "alice")}
    assert None not in pins
    assert len(pins) == 2


@pytest.mark.parametrize("certificate", [b"", b"garbage", bytes(2000)])
def test_what_is_no_certificate_has_no_pin(certificate: bytes) -> None:
    assert pin_of_untrusted(certificate) is None


@given(st.binary(max_size=300))
def test_any_bytes_have_a_pin_or_none(data: bytes) -> None:
    assert pin_of_untrusted(b"\x30\x81" + data) is None
