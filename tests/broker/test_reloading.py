"""Limits that change while a broker runs: they hold at once, and take nothing away."""

from ipaddress import ip_network

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_p2p import Endpoint
from trio_p2p._broker.budget import CONNECTION_BYTES, NAME_BYTES
from trio_p2p._broker.connection import Connection, Probes
from trio_p2p._broker.limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.refusals import RefusalError
from trio_p2p._broker.server import Broker as ServedBroker
from trio_p2p._wire.messages import MAX_PROBES, Probe, RefusalCode, Refused, Watch

from ..kit.loopback import held
from ..kit.raw_client import request
from .registries import NOW, Broker, refusal
from .relays import UNLIMITED, open_relay, send_and_end

ONE = BrokerLimits(
    connections=3, registrations=1, introductions=1, unknown_uids=1, watches=1, probes=1
)


def code_of(broker: Broker, connection: Connection, number: int) -> RefusalCode:
    return refusal(broker.say(connection, request(number, "?", "fast")), connection).code


def test_lower_limits_hold_at_once_and_take_nothing_away() -> None:
    broker = Broker()
    receivers = [broker.receiver(uid) for uid in ("a", "b")]
    sender = broker.greeted()
    for number in range(3):
        broker.say(sender, Watch(f"watched {number}", number))
    assert code_of(broker, sender, 0) is RefusalCode.UNKNOWN_UID
    assert len(broker.say(sender, request(0, "a", "fast"))) == 2
    broker.registry.limit_to(ONE, RelayLimits())
    assert broker.registry.uids == {"a", "b"}
    assert broker.registry.watches == 3
    with pytest.raises(RefusalError, match="serves 3 connections"):
        broker.connect()
    assert refusal(broker.register(sender, "c", number=5), sender).code is RefusalCode.BUSY
    assert refusal(broker.say(sender, Watch("more", 9)), sender).code is RefusalCode.BUSY
    # What was counted before counts on.
    assert code_of(broker, sender, 1) is RefusalCode.BUSY
    (to, refused), *rest = broker.say(sender, request(1, "a", "fast"))
    assert (to, rest) == (sender, [])
    assert isinstance(refused, Refused)
    assert all(not receiver.is_closed for receiver in receivers)
    prober = broker.connect("192.0.2.1")
    assert prober.party != sender.party
    broker.registry.limit_to(DEFAULT_BROKER_LIMITS, RelayLimits())
    broker.register(sender, "c", number=5)
    assert broker.registry.uids == {"a", "b", "c"}


def test_probes_and_arrivals() -> None:
    broker = Broker()
    broker.registry.limit_to(attrs.evolve(ONE, connections=100, connections_per_second=1), None)
    clients = [broker.greeted() for _ in range(3)]
    assert broker.say(clients[0], Probe())
    assert refusal(broker.say(clients[1], Probe()), clients[1]).code is RefusalCode.BUSY
    for _ in range(8):  # of ten at once, and one that is owed for
        broker.connect()
    with pytest.raises(RefusalError, match="takes 1 connections each second"):
        broker.connect()


def test_memory() -> None:
    broker = Broker()
    broker.receiver("a")
    small = attrs.evolve(DEFAULT_BROKER_LIMITS, memory=CONNECTION_BYTES + NAME_BYTES)
    broker.registry.limit_to(small, None)
    with pytest.raises(RefusalError, match="no memory left"):
        broker.connect("192.0.2.1")
    assert broker.registry.uids == {"a"}


def test_relay_that_is_switched_off_and_on() -> None:
    broker = Broker()
    broker.receiver("alice", host="192.0.2.1")
    circuit = broker.relayed(host="198.51.100.7")
    assert "relay" in broker.registry.capabilities
    broker.registry.limit_to(DEFAULT_BROKER_LIMITS, None)
    assert "relay" not in broker.registry.capabilities
    sender = broker.greeted()
    refused = refusal(broker.say(sender, request(0, "alice", "relay")), sender)
    assert (refused.code, refused.retry_after) == (RefusalCode.RELAY_REFUSED, None)
    assert broker.registry.circuits == 1
    broker.registry.limit_to(DEFAULT_BROKER_LIMITS, RelayLimits())
    broker.waiting(technique="relay")
    assert broker.registry.circuits == 2
    for connection in circuit:
        broker.registry.disconnected(connection, NOW)


async def test_circuits_share_other_rates_at_once(mock_clock: MockClock) -> None:
    before = held()
    async with open_relay(UNLIMITED) as (relays, _, ends):
        [circuit] = relays.circuits

        def reload(relay: RelayLimits) -> None:
            relays.broker.reload(
                relay=relay, limits=DEFAULT_BROKER_LIMITS, external=(), proxies=(), probe_at=()
            )

        reload(RelayLimits(total_bytes_per_second=1000, bytes_per_second=1))
        [pace] = circuit._paces  # its own is what its peers were told: none
        assert pace.piece == 100
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_and_end, ends.sender, bytes(1000))
            while True:  # and the clock stands
                if pace.waiting:
                    break
                await trio.lowlevel.checkpoint()
            assert 0 < circuit.passed < 1000
            reload(UNLIMITED)
            assert circuit._paces == ()
            mock_clock.jump(1)  # which ends the pause for what it has carried
            received = b""
            while len(received) < 1000:
                received += await ends.receiver.receive_some()
        assert pace.waiting == 0
        ends.close()
    assert held() == before


async def test_messages_are_read_at_other_rates(autojump_clock: MockClock) -> None:
    broker = ServedBroker(probes=Probes({4: 4434}))
    assert broker._probes is not None
    endpoint = Endpoint("203.0.113.5", 49152)
    connection = broker.registry.connected(endpoint, endpoint, trio.current_time())
    spend = broker._pacing._party_rates.spend
    assert spend(connection.party, 4000, trio.current_time()) == 0
    limits = attrs.evolve(DEFAULT_BROKER_LIMITS, source_messages_per_second=10, memory=8000)
    places = [Endpoint("198.51.100.7", port) for port in range(4433, 4440)]
    broker.reload(
        relay=None,
        limits=limits,
        external=[endpoint],
        proxies=[ip_network("192.0.2.0/24")],
        probe_at=places,
    )
    assert spend(connection.party, 40, trio.current_time()) == 4
    assert broker._unwritten.limit == 1000
    assert broker._own_endpoints.external == {endpoint}
    assert broker._probes.endpoints == tuple(places[:MAX_PROBES])
    assert not broker._arrivals.are_plain
