"""For whom a receiver guesses ports: peers that it admits, and seldom."""

from ipaddress import ip_address

import attrs
import pytest

from trio_p2p import Endpoint, Identity, PeerId, open_peer
from trio_p2p._control.guesses import Guesses
from trio_p2p._listen.guessing import GuessingPermits
from trio_p2p._wire.messages import ID_BYTES, NONCE_BYTES, SenderEndpoint

from ..kit.loopback import open_broker
from ..kit.raw_client import identity_of

UID = "receiver"
ALICE, MALLORY = identity_of("alice"), identity_of("mallory")
HERE = Endpoint(ip_address("192.0.2.1"), 40_000)


def asked_by(identity: Identity, *, uid: str = UID) -> SenderEndpoint:
    """What the broker says of a sender, for one connection to a receiver."""
    search = uid.encode()[:1] * ID_BYTES
    proof = identity.sign_introduction(search, uid)
    nonce = bytes(NONCE_BYTES)
    return SenderEndpoint(HERE, nonce, identity.certificate, search=search, proof=proof)


def test_admitted_sender_is_guessed_for() -> None:
    assert GuessingPermits(UID, None, Guesses()).take_untrusted(asked_by(ALICE), 0.0)
    admit = {ALICE.peer_id}.__contains__
    assert GuessingPermits(UID, admit, Guesses()).take_untrusted(asked_by(ALICE), 0.0)
    assert not GuessingPermits(UID, admit, Guesses()).take_untrusted(asked_by(MALLORY), 0.0)


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
    assert not GuessingPermits(UID, None, Guesses()).take_untrusted(message, 0.0)


def test_decision_that_fails_admits_no_peer(caplog: pytest.LogCaptureFixture) -> None:
    def admit(_: PeerId) -> bool:
        raise ZeroDivisionError("a mistake of the application")

    assert not GuessingPermits(UID, admit, Guesses()).take_untrusted(asked_by(ALICE), 0.0)
    assert "whether to admit" in caplog.text


def test_strangers_do_not_use_up_what_admitted_senders_may() -> None:
    permits = GuessingPermits(UID, {ALICE.peer_id}.__contains__, Guesses())
    assert not permits.take_untrusted(asked_by(MALLORY), 0.0)
    assert permits.take_untrusted(asked_by(ALICE), 0.0)


async def test_names_of_one_peer_do_not_guess_for_each_alone() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address) as peer,
        peer.listen("first") as first,
        peer.listen("second") as second,
        peer.listen_raw("third") as third,
    ):
        granted = [
            listener._name.introductions._puncher._permits.take_untrusted(
                asked_by(ALICE, uid=listener.uid), 0.0
            )
            for listener in (first, second, third)
        ]
    assert granted == [True, False, False]
