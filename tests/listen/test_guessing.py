"""For whom a receiver guesses ports: peers that it admits, and seldom."""

from ipaddress import ip_address

import attrs
import pytest

from trio_p2p import Endpoint, Identity, PeerId
from trio_p2p._listen.guessing import (
    GUESSES_PER_CONNECTION,
    GUESSING_INTERVAL,
    GuessingPermits,
)
from trio_p2p._wire.messages import ID_BYTES, NONCE_BYTES, SenderEndpoint

from ..kit.raw_client import identity_of

UID = "receiver"
ALICE, MALLORY = identity_of("alice"), identity_of("mallory")
HERE, THERE = (Endpoint(ip_address(text), 40_000) for text in ("192.0.2.1", "192.0.2.2"))


def asked_by(
    identity: Identity, number: int = 0, *, at: Endpoint = HERE, uid: str = UID
) -> SenderEndpoint:
    """What the broker says of a sender, for one connection of a number."""
    search = bytes([number]) * ID_BYTES
    proof = identity.sign_introduction(search, uid)
    nonce = bytes(NONCE_BYTES)
    return SenderEndpoint(at, nonce, identity.certificate, search=search, proof=proof)


def test_admitted_sender_is_guessed_for() -> None:
    assert GuessingPermits(UID, None).take_untrusted(asked_by(ALICE), 0.0)
    admit = {ALICE.peer_id}.__contains__
    assert GuessingPermits(UID, admit).take_untrusted(asked_by(ALICE), 0.0)
    assert not GuessingPermits(UID, admit).take_untrusted(asked_by(MALLORY), 0.0)


@pytest.mark.parametrize(
    "message",
    [
        attrs.evolve(asked_by(ALICE), proof=None),
        attrs.evolve(asked_by(ALICE), search=None),
        attrs.evolve(asked_by(ALICE), search=b"another connectn"),
        attrs.evolve(asked_by(MALLORY), certificate=ALICE.certificate),
        asked_by(ALICE, uid="another receiver"),
    ],
)
def test_proof_is_for_one_connection_to_one_receiver_by_one_sender(message: SenderEndpoint) -> None:
    assert not GuessingPermits(UID, None).take_untrusted(message, 0.0)


def test_guesses_towards_one_address_are_seldom() -> None:
    permits = GuessingPermits(UID, None)
    assert permits.take_untrusted(asked_by(ALICE, 0), 0.0)
    assert not permits.take_untrusted(asked_by(ALICE, 1), GUESSING_INTERVAL - 1)
    assert not permits.take_untrusted(asked_by(MALLORY, 2), GUESSING_INTERVAL - 1)
    assert permits.take_untrusted(asked_by(MALLORY, 3, at=THERE), GUESSING_INTERVAL - 1)
    assert permits.take_untrusted(asked_by(MALLORY, 4), GUESSING_INTERVAL)


def test_one_connection_may_be_guessed_for_again() -> None:
    permits = GuessingPermits(UID, None)
    granted = [permits.take_untrusted(asked_by(ALICE), float(second)) for second in range(9)]
    assert sum(granted) == GUESSES_PER_CONNECTION == 2
    assert permits.take_untrusted(asked_by(ALICE), GUESSING_INTERVAL)


def test_decision_that_fails_admits_no_peer(caplog: pytest.LogCaptureFixture) -> None:
    def admit(_: PeerId) -> bool:
        raise ZeroDivisionError("a mistake of the application")

    assert not GuessingPermits(UID, admit).take_untrusted(asked_by(ALICE), 0.0)
    assert "whether to admit" in caplog.text


def test_strangers_do_not_use_up_what_admitted_senders_may() -> None:
    permits = GuessingPermits(UID, {ALICE.peer_id}.__contains__)
    assert not permits.take_untrusted(asked_by(MALLORY), 0.0)
    assert permits.take_untrusted(asked_by(ALICE), 0.0)
