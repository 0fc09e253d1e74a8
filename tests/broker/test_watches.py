"""Watches: who is told that a receiver has registered again, how often, and what that may cost."""

import itertools
import tracemalloc
from ipaddress import ip_address

import pytest
import trio
from trio.testing import MockClock

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.budget import CONNECTION_BYTES, WATCH_BYTES
from trio_p2p._broker.connection import Connection, Messages, State
from trio_p2p._broker.limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from trio_p2p._broker.registry import SILENCE_TIME, Registry
from trio_p2p._broker_client.connection import KEEPALIVE_TIME
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.messages import (
    MAX_UID_BYTES,
    MAX_WATCHED,
    Hello,
    KeepAlive,
    Message,
    RefusalCode,
    Refused,
    Registered,
    RegisteredAgain,
    Watch,
)

from ..kit.raw_client import BROKER, identity_of, open_memory_broker, registration

NOW = 1000.0
AGAIN = RegisteredAgain("alice")


class Broker:
    """A registry, and clients of it."""

    def __init__(self, limits: BrokerLimits = DEFAULT_BROKER_LIMITS) -> None:
        self.registry = Registry(
            token_bytes=bytes,
            round_trip=lambda _connection, _now: 0,
            reads=lambda _connection: True,
            limits=limits,
        )
        self._ports = itertools.count(40001)

    def greeted(self, host: str = "203.0.113.5") -> Connection:
        endpoint = Endpoint(ip_address(host), next(self._ports))
        connection = self.registry.connected(endpoint, BROKER, NOW)
        self.say(connection, Hello())
        return connection

    def say(self, connection: Connection, message: Message, now: float = NOW) -> Messages:
        return self.registry.received(connection, message, now)

    def watcher(self, *uids: str) -> Connection:
        connection = self.greeted()
        for uid in uids or ("alice",):
            assert self.say(connection, Watch(uid)) == []
        return connection

    def register(self, uid: str = "alice", identity: Identity | None = None) -> Connection:
        connection = self.greeted()
        self.told = self.say(connection, registration(uid, connection.challenge, identity))
        return connection


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_watcher_is_told_that_the_uid_is_registered_again(broker: Broker) -> None:
    first = broker.register()
    watcher = broker.watcher()
    assert watcher.state is State.CONTROL
    again = broker.register()
    (refused, registered, told) = broker.told
    assert refused[0] is first
    assert registered == (again, Registered(0, again.endpoint))
    assert told == (watcher, AGAIN)


def test_watcher_is_told_if_the_registration_had_ended_before(broker: Broker) -> None:
    first = broker.register()
    watcher = broker.watcher()
    assert broker.registry.disconnected(first, NOW) == []
    broker.register()
    assert broker.told[1:] == [(watcher, AGAIN)]


def test_watcher_is_told_once_for_each_watch(broker: Broker) -> None:
    broker.register()
    watcher = broker.watcher("alice", "alice")
    assert broker.registry.watches == 1
    broker.register()
    assert broker.told[2:] == [(watcher, AGAIN)]
    assert broker.registry.watches == 0
    broker.register()
    assert broker.told[2:] == []
    broker.say(watcher, Watch("alice"))
    broker.register()
    assert broker.told[2:] == [(watcher, AGAIN)]


def test_everybody_who_watches_is_told_and_nobody_else(broker: Broker) -> None:
    broker.register()
    broker.register("bob")
    watchers = [broker.watcher(), broker.watcher("bob", "alice"), broker.watcher("bob")]
    broker.register()
    assert broker.told[2:] == [(watchers[0], AGAIN), (watchers[1], AGAIN)]
    broker.register("bob")
    bobs = RegisteredAgain("bob")
    assert broker.told[2:] == [(watchers[1], bobs), (watchers[2], bobs)]


def test_unknown_uid_may_be_watched(broker: Broker) -> None:
    watcher = broker.watcher()
    broker.register(identity=identity_of("whoever"))
    assert broker.told[1:] == [(watcher, AGAIN)]


def test_another_identity_s_registration_is_not_told(broker: Broker) -> None:
    first = broker.register()
    watcher = broker.watcher()
    broker.registry.disconnected(first, NOW)
    other = broker.register(identity=identity_of("other"))
    assert broker.told[1:] == []
    broker.registry.disconnected(other, NOW)
    broker.register()
    assert broker.told[1:] == [(watcher, AGAIN)]


def test_watch_says_nothing_about_the_uid(broker: Broker) -> None:
    broker.register()
    watcher = broker.greeted()
    assert broker.say(watcher, Watch("alice")) == broker.say(watcher, Watch("nobody")) == []


def test_refused_registration_is_none(broker: Broker) -> None:
    broker.register()
    broker.watcher()
    broker.register(identity=identity_of("mallory"))
    ((_, refused),) = broker.told
    assert isinstance(refused, Refused)
    assert broker.registry.watches == 1


def test_so_many_uids_may_be_watched_over_one_connection(broker: Broker) -> None:
    bystander = broker.watcher()
    watcher = broker.watcher(*map(str, range(MAX_WATCHED)))
    broker.say(watcher, Watch("0"))
    assert broker.registry.watches == MAX_WATCHED + 1
    ((to, refused),) = broker.say(watcher, Watch("one more"))
    assert to is watcher
    assert isinstance(refused, Refused)
    assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, None)
    assert str(MAX_WATCHED) in refused.reason
    assert watcher.is_closed
    assert broker.registry.watches == 1
    broker.register()
    assert broker.told[1:] == [(bystander, AGAIN)]


def watcher_from(broker: Broker, host: str, *uids: str) -> Connection:
    watcher = broker.greeted(host)
    for uid in uids:
        broker.say(watcher, Watch(uid))
    return watcher


def test_so_many_uids_may_be_watched_from_one_source() -> None:
    assert DEFAULT_BROKER_LIMITS.watches > 10 * MAX_WATCHED
    broker = Broker(BrokerLimits(watches=3))
    first = watcher_from(broker, "2001:db8::1", "a", "b")
    second = watcher_from(broker, "2001:db8::2", "a")
    ((to, refused),) = broker.say(second, Watch("b"))
    assert to is second
    assert isinstance(refused, Refused)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, None)
    assert refused.retry_after == 60_000
    assert second.is_closed
    watcher_from(broker, "2001:db8:0:1::1", "a")
    watcher_from(broker, "2001:db8::3", "c")
    assert broker.registry.watches == 4
    assert first.state is State.CONTROL


def test_new_watches_are_refused_where_there_is_no_room_for_more() -> None:
    broker = Broker(BrokerLimits(memory=2 * (CONNECTION_BYTES + 4 * WATCH_BYTES)))
    first = watcher_from(broker, "192.0.2.1", "alice", "b", "c", "d")
    ((to, refused),) = broker.say(first, Watch("e", 5))
    assert to is first
    assert isinstance(refused, Refused)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, 5)
    assert refused.retry_after == 30_000
    assert "no memory left" in refused.reason
    assert broker.registry.watches == 4


def test_spent_watches_make_room(broker: Broker) -> None:
    watcher = broker.watcher("alice", *map(str, range(MAX_WATCHED - 1)))
    broker.register()
    assert broker.say(watcher, Watch("bob")) == []
    assert broker.registry.watches == MAX_WATCHED


def test_watches_end_with_the_connection(broker: Broker) -> None:
    watcher = broker.watcher("alice", "bob")
    broker.registry.disconnected(watcher, NOW)
    assert broker.registry.watches == 0
    broker.register()
    assert broker.told[1:] == []


def test_watch_with_a_number_is_refused_by_it() -> None:
    broker = Broker(BrokerLimits(watches=MAX_WATCHED))
    watcher = broker.watcher(*map(str, range(MAX_WATCHED)))
    ((to, refused),) = broker.say(watcher, Watch("alice", 7))
    assert isinstance(refused, Refused)
    assert (to, refused.number) == (watcher, 7)
    assert refused.code is RefusalCode.PROTOCOL_VIOLATION
    other = broker.greeted()
    ((_, refused),) = broker.say(other, Watch("alice", 8))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, 8)
    assert not any(each.is_closed for each in (watcher, other))
    assert broker.registry.watches == MAX_WATCHED


def test_watch_is_a_sign_of_life(broker: Broker) -> None:
    watcher = broker.watcher()
    assert watcher.deadline == NOW + SILENCE_TIME
    broker.say(watcher, Watch("bob"), NOW + 60)
    assert watcher.deadline == NOW + 60 + SILENCE_TIME
    broker.say(watcher, KeepAlive(), NOW + 90)
    assert watcher.deadline == NOW + 90 + SILENCE_TIME


def test_memory_of_a_flood_is_bounded_and_given_back(broker: Broker) -> None:
    watches = [f"{number:0{MAX_UID_BYTES - 1}}" for number in range(MAX_WATCHED)]
    broker.watcher(*watches)
    watcher = broker.greeted()
    broker.register()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            for uid in watches:
                broker.say(watcher, Watch(uid + "x"))
        flooded, _ = tracemalloc.get_traced_memory()
        broker.registry.disconnected(watcher, NOW)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert flooded - before < 160 * 1024
    assert after - before < 32 * 1024  # the table of a dict that has grown


async def test_watcher_hears_it_at_once_and_lives_by_keepalives(autojump_clock: MockClock) -> None:
    async with (
        open_memory_broker() as broker,
        broker.connect() as watcher,
        broker.connect() as first,
    ):
        await first.register("alice")
        await watcher.greet()
        await watcher.send(Watch("alice"))
        for _ in range(10):
            await trio.sleep(KEEPALIVE_TIME)
            await watcher.send(KeepAlive())
            await first.send(KeepAlive())
        again = broker.connect()
        started_at = trio.current_time()
        await again.register("alice")
        assert await watcher.receive(RegisteredAgain) == AGAIN
        assert trio.current_time() == started_at
        assert await watcher.wait_closed() == []
        assert trio.current_time() == started_at + SILENCE_TIME


async def test_watcher_that_does_not_read_holds_no_receiver_up(
    autojump_clock: MockClock,
) -> None:
    async with open_memory_broker() as broker, broker.connect() as receiver:
        watcher = broker.connect(lockstep=True)
        await watcher.greet()
        await watcher.send(Watch("alice"))
        started_at = trio.current_time()
        await receiver.register("alice")
        assert trio.current_time() == started_at
        assert broker.uids == {"alice"}
