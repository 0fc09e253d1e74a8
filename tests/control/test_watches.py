"""Senders that watch their receivers: when, over which connection, and what follows."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from trio_p2p import P2PError, P2PStream, Peer, Registrations, open_p2p_listener, open_peer
from trio_p2p._broker.connection import Connection, State
from trio_p2p._broker.registry import Registry
from trio_p2p._broker_client import connection as broker_connection
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._connect.path_finder import WATCHING_DELAY
from trio_p2p._control.control import Control
from trio_p2p._control.watches import Watches, _Watched
from trio_p2p._net.attempt_log import AttemptLog
from trio_p2p._net.backoff import MIN_PAUSE
from trio_p2p._net.network_changes import Network
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream import leg
from trio_p2p._wire.messages import (
    MAX_WATCHED,
    Hello,
    Message,
    RefusalCode,
    Refused,
    RegisteredAgain,
    Watch,
)

from ..kit.fake_broker import open_fake_broker
from ..kit.loopback import HOST, PATIENCE, LoopbackBroker, echo, open_broker, open_raw_peers, until
from ..kit.raw_client import RawClient, identity_of
from ..kit.streams import open_peers


async def keep_watching(peer: Peer, uid: str, tell: Callable[[], object] = int) -> None:
    async with peer.watch(uid) as registrations:
        async for _ in registrations:
            tell()


@asynccontextmanager
async def open_watching_peer(broker: tuple[str, int]) -> AsyncGenerator[tuple[Peer, trio.Nursery]]:
    """A peer, and a nursery for what watches with it."""
    async with open_peer(broker) as peer, trio.open_nursery() as nursery:
        yield peer, nursery
        nursery.cancel_scope.cancel(reason="the test is over")


async def wait_watches(broker: LoopbackBroker, count: int) -> None:
    await until(lambda: broker.broker.registry.watches == count)


def watching(broker: LoopbackBroker) -> list[Connection]:
    """The connections that have asked for nothing but to watch, or for an introduction."""
    links = broker.broker._links
    return [each for each in links if each.state is State.CONTROL and each.registration is None]


def end_registration(broker: LoopbackBroker) -> None:
    """Close the connection of a receiver, which is going to register again."""
    (link,) = (link for each, link in broker.broker._links.items() if each.registration is not None)
    link.scope.cancel(reason="the test closes it")


async def talk(opened: P2PStream, accepted: P2PStream) -> None:
    """Have something under way in both directions all the time."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, accepted)
        while True:
            await opened.send_all(b"?")
            assert await opened.receive_some() == b"?"


@pytest.mark.parametrize("path", ["direct", "relay", "any"])
async def test_connection_watches_its_receiver_until_it_is_closed(path: str) -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair(path)
        await wait_watches(peers.broker, 1)
        async with accepted, opened:
            pass
        assert peers.broker.broker.registry.watches == 1
        await opened.connection.aclose()
        await wait_watches(peers.broker, 0)


async def test_all_connections_watch_over_one_link_to_the_broker() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("alice", broker.address),
        open_p2p_listener("bob", broker.address),
        open_peer(broker.address, techniques=["relay"]) as sender,
    ):
        alice, bob = [await sender.connect(uid) for uid in ("alice", "bob")]
        await wait_watches(broker, 2)
        assert len(watching(broker)) == 1
        await alice.aclose()
        await wait_watches(broker, 1)
        await bob.aclose()
        await wait_watches(broker, 0)
        assert len(watching(broker)) == 1  # kept for what comes next


async def test_raw_stream_watches_nobody() -> None:
    async with (
        open_raw_peers("receiver") as (broker, listener, sender),
        await sender.open_raw_stream("receiver"),
        await listener.accept(),
    ):
        await trio.sleep(2 * WATCHING_DELAY)
        assert broker.broker.registry.watches == 0


async def test_idle_stream_goes_on_if_the_receiver_registers_again() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        for count in (2, 3):
            await wait_watches(peers.broker, 1)
            path = opened.path
            end_registration(peers.broker)
            assert await opened.wait_path_changed(path) is not None
            assert peers.listener.statistics().registrations == count
            await opened.send_all(b"?")
            assert await accepted.receive_some() == b"?"
        assert peers.listener.statistics().connected == 1


async def test_path_over_which_something_comes_is_kept() -> None:
    async with open_peers() as peers, trio.open_nursery() as nursery:
        opened, accepted = await peers.open_pair("direct")
        nursery.start_soon(talk, opened, accepted)
        await wait_watches(peers.broker, 1)
        path = opened.path
        end_registration(peers.broker)
        await until(lambda: peers.listener.statistics().registrations == 2)
        await wait_watches(peers.broker, 1)
        await trio.sleep(0.2)
        assert opened.path is path
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_what_was_under_way_when_the_receiver_moved_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dial_later(dialer: DirectDialer, attempts: AttemptLog) -> PeerConnection:
        await may_dial.wait()
        return await dial(dialer, attempts)

    may_dial, dial = trio.Event(), DirectDialer.dial
    may_dial.set()
    monkeypatch.setattr(leg, "IDLE_SILENCE_TIME", 100 * PATIENCE)  # which would doubt, too
    monkeypatch.setattr(DirectDialer, "dial", dial_later)
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        await wait_watches(peers.broker, 1)
        path, carrier = opened.path, opened.connection.carrier
        may_dial = trio.Event()
        end_registration(peers.broker)
        await until(lambda: carrier.is_doubted)
        await accepted.send_all(b"late")
        assert await opened.receive_some() == b"late"
        assert not carrier.is_doubted
        may_dial.set()
        with trio.fail_after(PATIENCE):
            assert await opened.wait_path_changed(path) is not None


async def test_watch_begins_anew_when_the_broker_was_away() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        await wait_watches(peers.broker, 1)
        await peers.broker.kill()
        await peers.broker.start()
        await wait_watches(peers.broker, 1)
        await until(lambda: bool(peers.broker.uids))
        await opened.send_all(b"?")
        assert await accepted.receive_some() == b"?"


async def test_broker_that_refuses_watches_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p.control")
    pauses: list[float] = []
    rest = Control._rest

    async def note_and_rest(control: Control, network: Network, error: P2PError) -> None:
        pauses.append(control._patience._backoff._pause)
        await rest(control, network, error)

    monkeypatch.setattr(Control, "_rest", note_and_rest)
    for state in (State.READY, State.CONTROL):
        monkeypatch.delitem(Registry.TRANSITIONS, (state, Watch))
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        path = opened.path
        await until(lambda: len(pauses) == 4)
        await opened.send_all(b"?")
        assert await accepted.receive_some() == b"?"
        assert opened.path is path
    assert pauses == [MIN_PAUSE * 2**count for count in range(4)]
    refusals = [record for record in caplog.records if "no connection to the broker" in record.msg]
    assert len(refusals) >= 3


def test_broker_tells_of_so_many_uids_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._control.watches.MAX_WATCHED", 2)
    watches, asked = Watches(), set[str]()
    with watches.watching("a"), watches.watching("b"), watches.watching("c"):
        new = watches.to_ask(asked)
        assert new == ["a", "b"]
        asked.update(new)
        assert watches.to_ask(asked) == []
    with watches.watching("c"), watches.watching("d"):
        assert watches.to_ask(asked) == []  # the broker still tells of the others
        asked.remove("a")
        assert watches.to_ask(asked) == ["c"]


async def test_who_watches_keeps_the_connection_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_connection, "KEEPALIVE_TIME", 0.01)
    async with open_broker() as broker, open_watching_peer(broker.address) as (peer, nursery):
        nursery.start_soon(keep_watching, peer, "alice")
        await wait_watches(broker, 1)
        (connection,) = watching(broker)
        first = connection.deadline
        await until(lambda: connection.deadline > first)


async def test_every_registration_is_told_though_the_sender_was_told_before() -> None:
    told = 0

    def tell() -> None:
        nonlocal told
        told += 1

    async with open_broker() as broker, open_watching_peer(broker.address) as (peer, nursery):
        nursery.start_soon(keep_watching, peer, "alice", tell)
        identity = identity_of("alice")
        for count in range(1, 6):
            await wait_watches(broker, 1)
            async with open_p2p_listener("alice", broker.address, identity=identity):
                with trio.fail_after(PATIENCE):
                    while told < count:  # noqa: ASYNC110 - it is not told as an event
                        await trio.sleep(0.002)
        assert told == 5


MADNESS: dict[str, list[Message]] = {
    "a client's message": [Watch("alice")],
    "refuses": [Refused(RefusalCode.PROTOCOL_VIOLATION, "no")],
}
# What may have crossed something of ours on the way, or concerns one watch.
HARMLESS: dict[str, list[Message]] = {
    "what was not asked for": [RegisteredAgain("bob")] * (MAX_WATCHED + 1),
    "refuses the watch": [Refused(RefusalCode.BUSY, "no", 0)],
    "refuses what was not asked for": [Refused(RefusalCode.UNKNOWN_UID, "no", 7)],
}


@pytest.mark.parametrize("words", HARMLESS)
async def test_one_refused_watch_costs_no_connection(words: str) -> None:
    async def serve(client: RawClient) -> None:
        await client.receive(Hello)
        await client.receive(Watch)
        await client.send(Hello(), *HARMLESS[words])
        await client.receive(Watch)  # of the next UID, over the same connection
        is_heard.set()
        await client.wait_closed()

    is_heard = trio.Event()
    async with (
        open_fake_broker(serve) as address,
        open_watching_peer(address) as (peer, nursery),
    ):
        nursery.start_soon(keep_watching, peer, "alice")
        await until(lambda: any(control.link is not None for control in peer._controls))
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(keep_watching, peer, "bob")
        with trio.fail_after(PATIENCE):
            await is_heard.wait()


@pytest.mark.parametrize("madness", MADNESS)
async def test_watcher_survives_a_broker_gone_mad(madness: str) -> None:
    greetings = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal greetings
        client = RawClient(stream)
        await client.receive(Hello)
        await client.receive(Watch)
        greetings += 1
        await client.send(Hello(), *MADNESS[madness])
        await client.wait_closed()

    async with trio.open_nursery() as serving:
        listeners = await serving.start(partial(trio.serve_tcp, serve, 0, host=HOST))
        address = listeners[0].socket.getsockname()
        async with open_watching_peer(address) as (peer, nursery):
            nursery.start_soon(keep_watching, peer, "alice")
            await until(lambda: greetings == 3)
        serving.cancel_scope.cancel(reason="the test is over")


async def test_news_in_quick_succession_are_told_in_growing_intervals(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watched, registrations, told_at = _Watched(), Registrations(), list[float]()
    watched.told.append(registrations)

    async def note_news() -> None:
        async for _ in registrations:
            told_at.append(trio.current_time())

    async with trio.open_nursery() as listening:
        listening.start_soon(note_news)
        async with trio.open_nursery() as nursery:
            for _ in range(1200):  # 120 a second
                nursery.start_soon(watched.note_registration)
                await trio.sleep(1 / 120)
        assert 4 <= len(told_at) <= 10
        assert told_at[-1] - told_at[-2] > 1.0
        await trio.sleep(60)
        now = trio.current_time()
        await watched.note_registration()
        await trio.testing.wait_all_tasks_blocked()
        assert told_at[-1] == now
        listening.cancel_scope.cancel(reason="the test is over")


async def test_broker_that_floods_with_news_makes_few_introductions() -> None:
    told = watches = 0
    flooded = trio.Event()

    def tell() -> None:
        nonlocal told
        told += 1

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal watches
        client = RawClient(stream)
        await client.receive(Hello)
        await client.send(Hello())
        while watches < 200:
            await client.receive(Watch)
            watches += 1
            await client.send(RegisteredAgain("alice"))
        flooded.set()
        await client.wait_closed()

    async with trio.open_nursery() as serving:
        listeners = await serving.start(partial(trio.serve_tcp, serve, 0, host=HOST))
        address = listeners[0].socket.getsockname()
        async with open_watching_peer(address) as (peer, nursery):
            nursery.start_soon(keep_watching, peer, "alice", tell)
            with trio.fail_after(PATIENCE):
                await flooded.wait()
            assert 1 <= told < 20
        serving.cancel_scope.cancel(reason="the test is over")
