"""How a receiver meets senders: what it does for those that it does not know yet."""

from ipaddress import ip_address
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from trio_p2p import Identity
from trio_p2p._addresses import Endpoint
from trio_p2p._control.broker_link import BrokerLink
from trio_p2p._control.claims import Claims
from trio_p2p._control.guesses import Guesses
from trio_p2p._control.reachability import LocalSide
from trio_p2p._listen.guessing import GuessingPermits
from trio_p2p._listen.puncher import Puncher
from trio_p2p._nat.local_network import LocalNetwork
from trio_p2p._nat.survey_cache import SurveyCache
from trio_p2p._traversal.shared_port import SharedPort
from trio_p2p._traversal.strategy import Side
from trio_p2p._wire.messages import ID_BYTES, NONCE_BYTES, SenderEndpoint
from trio_p2p._wire.offer import Offer

from ..kit.attempts import NotedAttempts
from ..kit.loopback import HOST, PATIENCE, finder_of, nobody_listening
from ..kit.raw_client import identity_of
from ..kit.shared_ports import open_port_somewhere
from ..traversal.kinds import PORT, RANDOM

ALICE, MALLORY = identity_of("alice"), identity_of("mallory")


@pytest.mark.parametrize(
    ("identity", "is_guessed"), [(ALICE, True), (MALLORY, False), (None, False)]
)
async def test_ports_are_guessed_for_admitted_senders(
    identity: Identity | None, is_guessed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    guessed: list[object] = []

    async def guess(address: object, *_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        guessed.append(address)

    monkeypatch.setattr("trio_p2p._traversal.race.guess", guess)
    is_dialled = trio.Event()

    attempts = NotedAttempts(lambda _: is_dialled.set())
    puncher = Puncher(
        finder_of(HOST, 4433),
        [],
        port_guessing=True,
        permits=GuessingPermits("receiver", {ALICE.peer_id}.__contains__, Guesses()),
    )
    with nobody_listening() as (host, port), trio.fail_after(PATIENCE):
        sender, search = Endpoint(ip_address(host), port), bytes(ID_BYTES)
        message = SenderEndpoint(
            sender,
            bytes(NONCE_BYTES),
            (identity or ALICE).certificate,
            offer=Offer(RANDOM),
            search=search,
            proof=None if identity is None else identity.sign_introduction(search, "receiver"),
        )
        async with open_port_somewhere() as shared_port, trio.open_nursery() as nursery:
            link = link_of(shared_port, Offer(PORT))
            nursery.start_soon(puncher.connect_fast, message, link, attempts)
            await is_dialled.wait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert guessed == ([sender.address] if is_guessed else [])


def link_of(shared_port: SharedPort, offer: Offer) -> BrokerLink:
    """What a connection to a broker on this host would be like."""
    shared_port.address = ip_address(HOST)
    here = Endpoint(shared_port.address, shared_port.port)
    network = LocalNetwork(SurveyCache())
    side = LocalSide(here, shared_port, Side(here, offer), network)
    link = SimpleNamespace(local_side=side, round_trip=0.0, claims=Claims())
    return cast("BrokerLink", link)
