"""The proofs that a connection leads to the introduced peer."""

import hashlib
import hmac

import pytest
from hypothesis import given, strategies as st

from trio_p2p._traversal.check import PROOF_BYTES, Proofs, Role, proofs
from trio_p2p._wire.messages import NONCE_BYTES

nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
roles = st.sampled_from(Role)


@given(nonces)
def test_each_expects_what_the_other_says(nonce: bytes) -> None:
    sender, receiver = proofs(nonce, Role.SENDER), proofs(nonce, Role.RECEIVER)
    assert (sender.own, sender.peers) == (receiver.peers, receiver.own)


@given(nonces, roles)
def test_echo_is_no_proof(nonce: bytes, role: Role) -> None:
    made = proofs(nonce, role)
    assert made.own != made.peers
    assert len(made.own) == len(made.peers) == PROOF_BYTES


@given(nonces, nonces, roles)
def test_introductions_have_their_own_proofs(one: bytes, other: bytes, role: Role) -> None:
    assert (proofs(one, role) == proofs(other, role)) is (one == other)


@pytest.mark.parametrize("role", Role)
def test_proof_is_the_hmac_that_the_specification_says(role: Role) -> None:
    nonce = bytes(range(NONCE_BYTES))
    text = b"trio_p2p " + role.name.lower().encode()
    assert proofs(nonce, role).own == hmac.new(nonce, text, hashlib.sha256).digest()


@pytest.mark.parametrize("role", Role)
def test_busy_is_the_hmac_that_the_specification_says(role: Role) -> None:
    nonce = bytes(range(NONCE_BYTES))
    assert proofs(nonce, role).busy == hmac.new(nonce, b"trio_p2p busy", hashlib.sha256).digest()


@pytest.mark.parametrize("role", Role)
def test_other_role(role: Role) -> None:
    assert role.other is not role
    assert role.other.other is role


def test_secrets_are_not_shown() -> None:
    made = proofs(bytes(NONCE_BYTES), Role.SENDER)
    assert repr(made) == repr(Proofs(b"something", b"else", b"more", b"still more"))
