"""Senders that are told to come again later do so."""

import itertools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import BusyError, Endpoint, open_p2p_listener, open_peer
from trio_p2p._broker_client.finder import BrokerFinder
from trio_p2p._broker_client.relay import ask_for_relay
from trio_p2p._connect.patience import MIN_PAUSE, retry_while_busy
from trio_p2p._net.attempt_log import AttemptLog
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._wire.messages import (
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    SenderEndpoint,
)
from trio_p2p._wire.offer import Opening

from ..kit.loopback import DIRECT_TECHNIQUES, echo, exchange, nobody_listening
from ..kit.lying_broker import open_lying_broker
from ..kit.raw_client import identity_of
from ..kit.streams import Peers, open_peers

TIMES = 3
HONEST = identity_of("honest")


@pytest.mark.parametrize("retry_after", [0.001, 5.0])
async def test_asks_again_after_the_time_that_it_was_told(
    autojump_clock: trio.testing.MockClock, retry_after: float
) -> None:
    asked_at: list[float] = []

    async def ask() -> str:
        asked_at.append(trio.current_time())
        if len(asked_at) <= TIMES:
            raise BusyError("no room", retry_after=retry_after)
        return "answer"

    assert await retry_while_busy(ask) == "answer"
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert len(pauses) == TIMES
    assert all(pause >= max(MIN_PAUSE, retry_after) for pause in pauses)


@pytest.mark.parametrize("by_broker", [True, False])
async def test_declined_introduction_is_asked_for_again_in_the_same_round(by_broker: bool) -> None:
    openings: list[Opening] = []
    left = TIMES

    def lie(message: Message) -> Iterable[Message]:
        nonlocal left
        match message:
            case SenderEndpoint(offer=offer):
                openings.append(offer.opening)
                return [] if left else [message]
            case ReceiverEndpoint(number=number) if left:
                left -= 1
                refused = Refused(RefusalCode.BUSY, "no room", number, 10)
                return [refused] if by_broker else [attrs.evolve(message, endpoint=silent), refused]
            case _:
                return [message]

    with nobody_listening() as (host, port):
        silent = Endpoint(IPv4Address(host), port)
        async with (
            open_lying_broker(lie) as broker,
            open_p2p_listener("receiver", broker) as listener,
            open_peer(broker, techniques=DIRECT_TECHNIQUES) as sender,
        ):
            await sender.open_stream("receiver")
            await listener.accept()
    assert openings == [Opening.RECEIVER_HOLDS] * (TIMES + 1)


async def test_more_connections_at_once_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What the receiver says by itself is enough where it is reached.
    monkeypatch.setattr("trio_p2p._listen.introductions.MAX_DECLINING", 0)
    monkeypatch.setattr("trio_p2p._listen.introductions.MAX_INTRODUCTIONS", TIMES)

    async def connect_one(peers: Peers) -> None:
        address = peers.broker.address
        async with (
            open_peer(address, identity=HONEST, techniques=DIRECT_TECHNIQUES) as sender,
            await sender.open_stream("receiver") as stream,
        ):
            assert await exchange(stream, b"data") == b"data"

    async with open_peers() as peers, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, [peers.listener])
        async with trio.open_nursery() as opening:
            for _ in range(5 * TIMES):
                opening.start_soon(connect_one, peers)
        nursery.cancel_scope.cancel(reason="all have been opened")
        assert peers.listener.statistics().failed  # some had to come again


async def test_busy_relay_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ask_for_relay
    refusals: Iterator[BusyError] = iter([BusyError("no room", retry_after=0.01)] * TIMES)

    async def ask_when_free(
        broker: BrokerFinder, uid: str, certificate: bytes, attempts: AttemptLog
    ) -> PeerConnection:
        for refusal in refusals:
            raise refusal
        return await ask(broker, uid, certificate, attempts)

    monkeypatch.setattr("trio_p2p._connect.relayed.ask_for_relay", ask_when_free)
    async with open_peers() as peers:
        await peers.open_pair("relay")
