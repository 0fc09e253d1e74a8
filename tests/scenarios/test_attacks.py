"""Attacks on a public broker: honest peers stay registered and are introduced; little is held.

The broker has its usual limits unless a test says otherwise. Attackers come from addresses of
their own in 127/8, and so do the honest peers; or, in a namespace, from many of one IPv6 /64, and
the honest peers from others. What is counted are messages, connections and what
the broker holds, never seconds.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

import pytest
import trio

from benchmarks.attack_networks import IPV6_64, ONE_ADDRESS, Network, open_place
from trio_p2p import BrokerLimits, Identity
from trio_p2p._addresses import Endpoint
from trio_p2p._broker.budget import CONNECTION_BYTES, RESERVED_BYTES
from trio_p2p._broker.connection import Connection, Messages
from trio_p2p._broker.limits import DEFAULT_BROKER_LIMITS
from trio_p2p._broker.pacing import MESSAGES_BURST_TIME, SOURCE_MESSAGES_BURST_TIME
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.rates import MAX_SOURCES
from trio_p2p._broker.refusals import RefusalError
from trio_p2p._broker.registrations import MAX_RESERVED_OF_NEIGHBOURS
from trio_p2p._broker.registry import Registry
from trio_p2p._broker.server import Broker
from trio_p2p._lab.namespaces import Namespace
from trio_p2p._net.channel import Channel, ChannelClosedError
from trio_p2p._wire.codec import MAX_FRAME_BYTES, encode
from trio_p2p._wire.messages import (
    CallBack,
    Hello,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Message,
    Probe,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Registered,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Unwatch,
    Update,
    Watch,
)
from trio_p2p._wire.offer import NO_OFFER

from ..kit.loopback import LIFETIME, PATIENCE, until
from ..kit.raw_client import BROKER, RawClient, identity_of, registration, request

HONEST_RECEIVER, HONEST_SENDER = ONE_ADDRESS.receiver, ONE_ADDRESS.sender.format(1)
[ATTACKER] = ONE_ADDRESS.attackers
NOW = 1000.0


class Attacked:
    """A broker under attack, and one honest receiver that it has."""

    def __init__(self, broker: Broker, network: Network, port: int) -> None:
        self.broker = broker
        self.network = network
        self.port = port
        self.clients: list[RawClient] = []
        self.receiver: RawClient

    @property
    def registry(self) -> Registry:
        return self.broker.registry

    async def connect(self, host: str = ATTACKER) -> RawClient:
        address = self.network.broker
        stream = await trio.open_tcp_stream(address, self.port, local_address=host)
        self.clients.append(RawClient(stream))
        return self.clients[-1]

    async def greeted(self, host: str = ATTACKER) -> RawClient:
        client = await self.connect(host)
        await client.greet()
        return client

    async def check_served(self, times: int = 3) -> None:
        """Check that the honest are still there, and newcomers among them are served."""
        honest = self.network.sender.format(1)
        with trio.fail_after(PATIENCE):
            for number in range(times):
                async with await self.greeted(honest) as sender:
                    await sender.ask("honest", "fast", number)
                    assert (await sender.receive(ReceiverEndpoint)).number == number
                await self.receiver.receive(SenderEndpoint)
            newcomer = await self.connect(honest)
            async with newcomer:
                await newcomer.register("newcomer")
        assert "honest" in self.registry.uids


@asynccontextmanager
async def open_attacked(
    limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
    relay: RelayLimits | None = None,
    network: Network = ONE_ADDRESS,
) -> AsyncGenerator[Attacked]:
    async with trio.open_nursery() as nursery:
        broker = Broker(relay or RelayLimits(), limits=limits)
        listeners = await trio.open_tcp_listeners(0, host=network.broker, backlog=1024)
        await nursery.start(broker.serve_listeners, listeners)
        attacked = Attacked(broker, network, listeners[0].socket.getsockname()[1])
        attacked.receiver = await attacked.connect(network.receiver)
        await attacked.receiver.register("honest")
        try:
            yield attacked
            await attacked.check_served(1)
        finally:
            for client in attacked.clients:
                stream, _ = client.channel.detach()
                assert isinstance(stream, trio.SocketStream)
                stream.socket.close()
        nursery.cancel_scope.cancel(reason="the test is over")


async def read_all(client: RawClient, counts: Counter[str]) -> None:
    """Count the messages that come, until the connection is closed."""
    with suppress(ChannelClosedError):
        while True:
            message = await client.channel.receive()
            code = f" {message.code}" if isinstance(message, Refused) else ""
            counts[message.type + code] += 1


async def write(client: RawClient, data: bytes) -> None:
    """Write again and again, until the connection is closed."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await client.stream.send_all(data)


# Connections.


async def test_connection_flood_is_refused_at_the_limits() -> None:
    limits = BrokerLimits(connections=50)
    async with open_attacked(limits) as attacked:
        for _ in range(200):
            await attacked.connect()
        await until(lambda: attacked.broker._room.descriptors.in_use <= 51)
        assert len(attacked.broker._links) == 51
        assert attacked.registry.held_bytes < 60 * CONNECTION_BYTES
        await attacked.check_served()
    assert attacked.registry.held_bytes == RESERVED_BYTES * attacked.registry.reserved


async def test_connections_that_come_and_go_are_refused_at_their_rate() -> None:
    limits = BrokerLimits(connections_per_second=1)
    async with open_attacked(limits) as attacked:
        counts: Counter[str] = Counter()
        for _ in range(100):
            async with await attacked.connect() as client:
                await client.send(Hello())
                await read_one(client, counts)
        # What it may do at once, and then one each second that this takes.
        assert counts["hello"] < 50 < counts["refused busy"]
        await attacked.check_served()


async def read_one(client: RawClient, counts: Counter[str]) -> None:
    with suppress(ChannelClosedError):
        message = await client.channel.receive()
        counts[message.type + (f" {message.code}" if isinstance(message, Refused) else "")] += 1


async def test_slow_senders_hold_little() -> None:
    async with open_attacked() as attacked:
        clients = [await attacked.connect() for _ in range(200)]
        whole = encode(request(0, "honest", "fast"))
        for client in clients:
            await client.stream.send_all(encode(Hello()) + whole[:-1])
        await until(lambda: len(attacked.broker._links) == 201)
        frames = [link.channel._frames for link in attacked.broker._links.values()]
        assert all(each is None or len(each._data) <= 2 * MAX_FRAME_BYTES for each in frames)
        await attacked.check_served()


async def test_bytes_that_are_no_messages_yet_are_read_at_the_rate_of_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = BrokerLimits(messages_per_second=5, source_messages_per_second=50)
    async with open_attacked(limits) as attacked, trio.open_nursery() as nursery:
        read: Counter[Channel] = Counter()
        whole_read = Channel.read

        async def count(channel: Channel) -> None:
            read[channel] += 1
            await whole_read(channel)

        began = trio.current_time()
        clients = [await attacked.connect() for _ in range(20)]
        await until(lambda: len(attacked.broker._links) == 21)
        monkeypatch.setattr(Channel, "read", count)
        attackers = set(attacked.broker._links)

        async def trickle(client: RawClient) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await client.stream.send_all(encode(Hello()) + b"\xc5\x0f\xff")
                while True:
                    await client.stream.send_all(b"\x00")
                    await trio.lowlevel.checkpoint()

        for client in clients:
            nursery.start_soon(trickle, client)
        for _ in range(3):
            await attacked.check_served(1)
        took = trio.current_time() - began
        mine = {link.channel for each, link in attacked.broker._links.items() if each in attackers}
        reads = sum(read[channel] for channel in mine)
        assert 20 <= reads <= 50 * (SOURCE_MESSAGES_BURST_TIME + took) + 2 * len(clients)
        nursery.cancel_scope.cancel(reason="the attack is over")


@pytest.mark.parametrize(
    "data",
    [
        b"\xc5\xff\xff" + bytes(65535),
        b"\xc6\xff\xff\xff\xff",
        b"\xc4\x01\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        encode(Hello()) + b"\xc5\x0f\xff" + b"\x91" * 4095,
        b"\x00" * 100_000,
    ],
    ids=["oversized", "huge", "malformed", "HTTP", "nested", "zeros"],
)
async def test_frames_that_are_none_cost_their_connection(data: bytes) -> None:
    async with open_attacked() as attacked:
        for _ in range(30):
            async with await attacked.connect() as client:
                with suppress(trio.BrokenResourceError):
                    await client.stream.send_all(data)
                await read_all(client, Counter())
        await until(lambda: len(attacked.broker._links) == 1)
        await attacked.check_served()


# Floods of each message.

CERTIFICATE = identity_of("attacker").certificate
OFTEN: dict[str, Callable[[int], Message]] = {
    "keepalive": lambda _: KeepAlive(),
    "introduction": lambda number: request(number, "honest", "fast"),
    "unknown": lambda number: request(number, f"no {number}", "fast"),
    "watch": lambda number: Watch(f"watched {number % 200}", number),
    "unwatch": lambda number: Unwatch(f"watched {number}"),
    "update": lambda _: Update(NO_OFFER),
    "unregister": Unregister,
    "register": lambda number: registration(f"name {number}", bytes(32), number=number),
    "hello": lambda _: Hello(),
    "probe": lambda _: Probe(),
    "call back": lambda _: CallBack(),
    "join": lambda number: JoinRelay(number.to_bytes(16, "big")),
}


@pytest.mark.parametrize("connections", [1, 20, 200])
@pytest.mark.parametrize("kind", OFTEN)
async def test_flood_of_messages(
    kind: str, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few that what the flood may do at once takes no time.
    limits = BrokerLimits(messages_per_second=5, source_messages_per_second=50)
    async with open_attacked(limits) as attacked, trio.open_nursery() as nursery:
        heard = count_received(attacked.registry, monkeypatch)
        began = trio.current_time()
        data = b"".join(encode(OFTEN[kind](number)) for number in range(100))
        for _ in range(connections):
            client = await attacked.connect()
            with suppress(trio.BrokenResourceError):
                await client.stream.send_all(encode(Hello()))
            nursery.start_soon(write, client, data)
            nursery.start_soon(read_all, client, Counter())
        nursery.start_soon(read_introductions, attacked)
        for number in range(3):
            with trio.fail_after(PATIENCE):
                async with await attacked.greeted(HONEST_SENDER) as sender:
                    await sender.ask("honest", "fast", number)
                    assert (await sender.receive(ReceiverEndpoint)).number == number
        took = trio.current_time() - began
        # By connection: the burst, the rate, and one piece beyond; by source: the same.
        most_of_one = 5 * (MESSAGES_BURST_TIME + took) + 16
        most_of_all = 50 * (SOURCE_MESSAGES_BURST_TIME + took) + 16 * connections
        assert max(heard.values(), default=0) <= most_of_one
        assert heard.total() <= most_of_all
        assert "honest" in attacked.registry.uids
        assert attacked.registry.held_bytes < 512 * 1024 * (1 + connections)
        nursery.cancel_scope.cancel(reason="the flood is over")


def count_received(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Counter[Endpoint]:
    """Count the messages of attackers that the registry is given, by connection."""
    heard: Counter[Endpoint] = Counter()
    received = registry.received

    def count(connection: Connection, message: Message, now: float) -> Messages:
        if connection.endpoint.address == ip_address(ATTACKER):
            heard[connection.endpoint] += 1
        return received(connection, message, now)

    monkeypatch.setattr(registry, "received", count)
    return heard


async def read_introductions(attacked: Attacked) -> None:
    while True:
        await attacked.receiver.receive(SenderEndpoint)


# Names.


def connected(registry: Registry, host: str, now: float = NOW) -> "Client":
    return Client(registry, host, now)


class Client:
    """One connection to a registry without sockets."""

    def __init__(self, registry: Registry, host: str, now: float = NOW) -> None:
        self.registry = registry
        endpoint = Endpoint(ip_address(host), 40000)
        self.connection = registry.connected(endpoint, BROKER, now)
        self.say(Hello(), now)

    def say(self, message: Message, now: float = NOW) -> list[Message]:
        outgoing = self.registry.received(self.connection, message, now)
        return [each for to, each in outgoing if to is self.connection]

    def register(
        self, uid: str, identity: Identity, number: int = 0, now: float = NOW
    ) -> Registered | Refused:
        message = registration(uid, self.connection.challenge, identity, number=number)
        [answer] = self.say(message, now)
        assert isinstance(answer, Registered | Refused)
        return answer

    def lose(self, now: float = NOW) -> None:
        self.registry.disconnected(self.connection, now)


def registry_of(**limits: int) -> Registry:
    return Registry(
        token_bytes=bytes,
        round_trip=lambda _connection, _now: 0,
        reads=lambda _: True,
        limits=BrokerLimits(**limits),
    )


@pytest.mark.parametrize(
    "hosts",
    [["192.0.2.1"], [f"192.0.2.{number}" for number in range(256)]],
    ids=["one address", "a /24"],
)
def test_squatters_leave_room_for_names_and_reservations(hosts: Sequence[str]) -> None:
    registry = registry_of(memory=1 << 20, connections_per_second=1_000_000)
    honest = connected(registry, "198.51.100.1")
    honest.register("honest", identity_of("honest"))
    moving = connected(registry, "198.51.100.2")
    moving.register("moving", identity_of("moving"))
    moving.lose()
    squatter, names = identity_of("squatter"), 0
    for host in hosts:
        with suppress(RefusalError):
            client = connected(registry, host)
            for number in range(64):
                answer = client.register(f"{host} {number}", squatter, number)
                if isinstance(answer, Refused):
                    assert answer.retry_after
                    break
                names += 1
    assert 64 <= names < 512
    assert registry.held_bytes <= 0.6 * (1 << 20)
    assert "honest" in registry.uids
    newcomer = connected(registry, "203.0.113.9")
    assert isinstance(newcomer.register("new", identity_of("new")), Registered)
    thief = connected(registry, "203.0.113.10")
    assert isinstance(thief.register("moving", squatter), Refused)


def test_names_that_are_registered_and_lost_push_no_others_out_of_the_reserved() -> None:
    registry = registry_of(connections_per_second=1_000_000)
    honest = connected(registry, "198.51.100.1")
    honest.register("honest", identity_of("honest"))
    honest.lose()
    squatter = identity_of("squatter")
    for number in range(3000):
        client = connected(registry, f"192.0.2.{number % 250}")
        client.register(f"name {number}", squatter)
        client.lose()
    assert registry.reserved <= 1 + MAX_RESERVED_OF_NEIGHBOURS
    thief = connected(registry, "203.0.113.10")
    assert isinstance(thief.register("honest", squatter), Refused)


def test_receivers_and_watchers_that_register_in_a_loop_leave_nothing() -> None:
    registry = registry_of(connections_per_second=1_000_000)
    watcher, receiver = connected(registry, "192.0.2.1"), connected(registry, "192.0.2.2")
    identity, told = identity_of("loop"), Counter[str]()
    for number in range(500):
        watcher.say(Watch("looping", number))
        message = registration("looping", receiver.connection.challenge, identity, number=number)
        outgoing = registry.received(receiver.connection, message, NOW)
        told.update(each.type for _, each in outgoing)
        receiver.say(Unregister(number))
    assert told == {"registered": 500, "registered_again": 500}  # as many as were asked for
    assert (registry.watches, registry.reserved, registry.uids) == (0, 0, frozenset())
    watcher.lose()
    receiver.lose()
    assert registry.held_bytes == 0


# UIDs.


def test_a_hundred_thousand_distinct_uids_leave_nothing_behind() -> None:
    registry = registry_of(unknown_uids=1_000_000, watches=100)
    attacker = connected(registry, "192.0.2.1")
    before = registry.held_bytes
    codes: Counter[str] = Counter()
    for number in range(100_000):
        ask = IntroductionRequest(0, f"{number}", "fast", StreamKind.SESSION, CERTIFICATE)
        [refused] = attacker.say(ask)
        assert isinstance(refused, Refused)
        codes[refused.code] += 1
    assert codes == {RefusalCode.UNKNOWN_UID: 100_000}
    assert registry.held_bytes == before
    for number in range(1000):
        attacker.say(Watch(f"{number}", number))
    assert registry.watches == 100


def test_random_uids_of_many_sources_are_remembered_within_bounds() -> None:
    registry = registry_of(connections_per_second=1_000_000, unknown_uids=2)
    for number in range(MAX_SOURCES + 2000):
        client = connected(registry, str(ip_address("10.0.0.0") + number))
        client.say(request(0, "?", "fast"))
        client.lose()
    assert len(registry._sources._unknown._of_network._windows) == MAX_SOURCES
    assert len(registry._sources._arrivals) == MAX_SOURCES
    assert registry.held_bytes == 0


# The relay.


async def test_full_and_stalled_circuits_are_limited_by_source_and_hold_few_pipes() -> None:
    relay = RelayLimits(circuits_per_ip=24)
    async with open_attacked(relay=relay) as attacked, trio.open_nursery() as nursery:
        accomplice = await attacked.connect(ATTACKER)
        await accomplice.register("accomplice")
        for number in range(30):
            sender = await attacked.greeted(ATTACKER)
            await sender.ask("accomplice", "relay", number)
            if number >= 24:
                refused = await sender.wait_refused()
                assert refused.retry_after == 5000
                continue
            asked = await accomplice.receive(RelayRequest)
            joined = await attacked.connect(ATTACKER)
            await joined.send(Hello(), JoinRelay(asked.introduction))
            nursery.start_soon(write, sender, bytes(65536))
        relaying = attacked.broker._relay
        assert relaying is not None
        await until(lambda: relaying.carriers.are_scarce or relaying.carriers._lent > 10)
        assert attacked.registry.circuits == 24
        sender = await attacked.greeted(HONEST_SENDER)
        await sender.ask("honest", "relay", 1)
        asked = await attacked.receiver.receive(RelayRequest)
        joined = await attacked.connect(HONEST_RECEIVER)
        await joined.send(Hello(), JoinRelay(asked.introduction))
        with trio.fail_after(PATIENCE):
            await sender.channel.receive()
            await joined.channel.receive()
            await joined.channel.receive()
            for _ in range(20):
                await sender.stream.send_all(b"honest")
                assert await joined.stream.receive_some(6) == b"honest"
        assert relaying.carriers._lent <= 17
        nursery.cancel_scope.cancel(reason="the attack is over")


# Many addresses of one IPv6 /64, which are one source.


@pytest.fixture
def place(_namespaces: None) -> Iterator[Namespace]:
    """Where there are such addresses."""
    with open_place() as namespace:
        yield namespace


async def flood_with_connections() -> None:
    limits = BrokerLimits(connections=50)
    async with open_attacked(limits, network=IPV6_64) as attacked:
        for host in IPV6_64.attackers:
            await attacked.connect(host)
        await until(lambda: attacked.broker._room.descriptors.in_use <= 51)
        assert len(attacked.broker._links) == 51
        await attacked.check_served()


async def squat() -> None:
    limits = BrokerLimits(registrations=20)
    async with open_attacked(limits, network=IPV6_64) as attacked:
        answers: Counter[str] = Counter()
        for index, host in enumerate(IPV6_64.attackers[:10]):
            client = await attacked.connect(host)
            challenge = await client.greet()
            names = [f"squatted {index} {number}" for number in range(5)]
            for number, name in enumerate(names):
                await client.send(registration(name, challenge, number=number))
                await read_one(client, answers)
        assert answers == {"registered": 20, "refused busy": 30}
        await attacked.check_served()


async def guess_uids() -> None:
    limits = BrokerLimits(unknown_uids=10)
    async with open_attacked(limits, network=IPV6_64) as attacked:
        answers: Counter[str] = Counter()
        for number, host in enumerate(IPV6_64.attackers[:20]):
            client = await attacked.greeted(host)
            await client.ask(f"guessed {number}", "fast", number)
            await read_one(client, answers)
        assert answers == {"refused unknown-uid": 10, "refused busy": 10}
        await attacked.check_served()


@pytest.mark.parametrize("attack", [flood_with_connections, squat, guess_uids])
def test_addresses_of_one_ipv6_network_have_one_share(
    attack: Callable[[], Awaitable[None]], place: Namespace
) -> None:
    async def run() -> None:
        with trio.fail_after(LIFETIME):
            await attack()

    place.call(trio.run, run)
