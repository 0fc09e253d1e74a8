"""Limits by identity: one with many addresses gets no more than one with a single address."""

from collections import Counter
from ipaddress import ip_address

import pytest

from trio_p2p._broker.connection import Connection, Messages
from trio_p2p._broker.limits import BrokerLimits
from trio_p2p._broker.parties import (
    Holdings,
    Party,
    PartyRates,
    PartyWindows,
    decrement,
    network_of,
)
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.rates import Rate
from trio_p2p._identity.certificate import public_key_of_untrusted
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.messages import (
    Kill,
    Message,
    RefusalCode,
    Refused,
    RelayRequest,
    Report,
    Unregister,
    Unwatch,
    Watch,
)

from ..kit.raw_client import identification, identity_of, request
from .registries import NOW, Broker, refusal

FEW = BrokerLimits(
    registrations=2, introductions=2, unknown_uids=2, guessings=2, reports=2, watches=2, probes=2
)
GREEDY, OTHER = identity_of("greedy"), identity_of("other")
HOSTS = [f"198.51.100.{number}" for number in range(1, 11)]


@pytest.fixture
def broker() -> Broker:
    return Broker(limits=FEW)


def proven(broker: Broker, host: str, identity: Identity = GREEDY) -> Connection:
    """A sender that has proven who it is."""
    connection = broker.greeted(host=host)
    assert broker.say(connection, identification(identity, connection.challenge)) == []
    return connection


def codes(outgoing: list[Messages]) -> Counter[RefusalCode | None]:
    """What came of requests: the codes of refusals, and None for what was done."""
    return Counter(
        next((each.code for _, each in messages if isinstance(each, Refused)), None)
        for messages in outgoing
    )


def asked(broker: Broker, message: Message, identity: Identity | None) -> list[Messages]:
    """What becomes of a request that comes from each of many addresses."""
    senders = [
        broker.greeted(host=host) if identity is None else proven(broker, host, identity)
        for host in HOSTS
    ]
    return [broker.say(sender, message) for sender in senders]


# Who it is.


def test_a_party_is_a_network_until_it_has_proven_an_identity(broker: Broker) -> None:
    connection = broker.greeted(host="2001:db8::7")
    network = ip_address("2001:db8::").packed[:8]
    broker.say(connection, request(0, "unknown", "fast"))  # which names an identity
    assert connection.party == Party(network)
    broker.say(connection, identification(GREEDY, connection.challenge))
    party = connection.party
    assert party == Party(network, public_key_of_untrusted(GREEDY.certificate))
    broker.say(connection, identification(GREEDY, connection.challenge))
    assert connection.party is party
    broker.register(connection, "alice", OTHER)
    assert connection.party == Party(network, public_key_of_untrusted(OTHER.certificate))


# What is asked for.


def test_introductions_to_one_receiver(broker: Broker) -> None:
    broker.receiver("alice", host="192.0.2.1")
    broker.receiver("bob", host="192.0.2.1")
    message = request(0, "alice", "fast")
    few = {None: 2, RefusalCode.BUSY: len(HOSTS) - 2}
    assert codes(asked(broker, message, GREEDY)) == few
    # Another identity is introduced all the same, from the same addresses; and one that is not
    # proven is not known, so only its addresses count.
    broker = Broker(limits=FEW)
    broker.receiver("alice", host="192.0.2.1")
    assert codes(asked(broker, message, None)) == {None: len(HOSTS)}
    assert codes(asked(broker, message, OTHER)) == few


def test_refused_introductions_say_when_the_identity_may_have_more(broker: Broker) -> None:
    broker.receiver("alice", host="192.0.2.1")
    for host in HOSTS[:2]:
        broker.say(proven(broker, host), request(0, "alice", "fast"), now=NOW)
    sender = proven(broker, HOSTS[2])
    refused = refusal(broker.say(sender, request(3, "alice", "fast"), now=NOW + 5), sender)
    assert refused.retry_after == 10_000  # not those 15 s of the address, which has had just one
    assert len(broker.say(sender, request(4, "alice", "fast"), now=NOW + 15)) == 2


def test_unknown_uids(broker: Broker) -> None:
    outgoing = asked(broker, request(0, "guess", "fast"), GREEDY)
    assert codes(outgoing) == {RefusalCode.UNKNOWN_UID: 2, RefusalCode.BUSY: len(HOSTS) - 2}
    assert broker.say(broker.greeted(host=HOSTS[0]), request(0, "guess", "fast"))
    other = proven(broker, "192.0.2.1", OTHER)
    assert refusal(broker.say(other, request(0, "guess", "fast")), other).code is (
        RefusalCode.UNKNOWN_UID
    )


def test_reports() -> None:
    broker = Broker(limits=FEW)
    sources = broker.registry._sources
    senders = [proven(broker, host) for host in HOSTS]
    assert [sources.may_report(each, NOW) for each in senders].count(True) == 2
    assert [sources.may_guess(each, NOW) for each in senders].count(True) == 2
    assert broker.say(senders[0], Report(1)) == []


# What is held.


def test_names_of_one_identity(broker: Broker) -> None:
    connections = [broker.greeted(host=host) for host in HOSTS]
    outgoing = [
        broker.register(connection, f"name {number}", GREEDY)
        for number, connection in enumerate(connections)
    ]
    assert codes(outgoing) == {None: 2, RefusalCode.BUSY: len(HOSTS) - 2}
    [refused] = [each for _, each in outgoing[-1] if isinstance(each, Refused)]
    assert "2 UIDs at a time for one IP address and for one identity" in refused.reason
    broker.register(connections[0], "of another one", OTHER, number=1)
    assert broker.registry.uids == {"name 0", "name 1", "of another one"}
    broker.say(connections[0], Unregister(0))
    broker.register(connections[5], "again", GREEDY)
    assert broker.registry.uids == {"name 1", "of another one", "again"}
    for connection in connections:
        broker.registry.disconnected(connection, NOW)
    registrations = broker.registry._registrations
    assert not registrations._of_key
    assert not registrations._of_network


def test_a_name_over_both_versions_of_ip_counts_once(broker: Broker) -> None:
    """And so it does until it is over by both."""
    over = {host: broker.greeted(host=host) for host in ("192.0.2.1", "2001:db8::1")}
    for number, uid in enumerate(("a", "b")):
        for connection in over.values():
            broker.register(connection, uid, GREEDY, number=number)
    assert broker.registry.uids == {"a", "b"}
    broker.say(over["192.0.2.1"], Unregister(0))
    third = broker.greeted(host="198.51.100.1")
    assert refusal(broker.register(third, "c", GREEDY), third).code is RefusalCode.BUSY
    broker.say(over["2001:db8::1"], Unregister(0))
    broker.register(third, "c", GREEDY)
    assert broker.registry.uids == {"b", "c"}


def test_watches_count_for_who_has_begun_them(broker: Broker) -> None:
    watchers = [proven(broker, host) for host in HOSTS[:3]]
    outgoing = [broker.say(each, Watch(f"u{index}", 0)) for index, each in enumerate(watchers)]
    assert codes(outgoing) == {None: 2, RefusalCode.BUSY: 1}
    # It proves another identity: what it watches stays with the first one.
    broker.say(watchers[0], identification(OTHER, watchers[0].challenge))
    broker.say(watchers[0], Unwatch("u0"))
    assert broker.say(watchers[2], Watch("u2", 1)) == []
    for each in watchers:
        broker.say(each, Kill())
    assert len(broker.registry._watches._held) == 0


def relayed(broker: Broker, sender: Connection) -> Refused | None:
    ((_, answer),) = broker.say(sender, request(0, "alice", "relay"))
    assert isinstance(answer, Refused | RelayRequest)
    return answer if isinstance(answer, Refused) else None


def test_circuits_of_one_sender() -> None:
    broker = Broker(relay=RelayLimits(circuits_per_ip=2))
    broker.receiver("alice", host="192.0.2.1")
    senders = [proven(broker, host) for host in HOSTS[:3]]
    first, second, third = (relayed(broker, sender) for sender in senders)
    assert (first, second) == (None, None)
    assert third is not None
    assert "at most 2 circuits at a time for senders of one IP address, or identity" in third.reason
    assert relayed(broker, proven(broker, HOSTS[2], OTHER)) is None
    broker.registry.disconnected(senders[0], NOW)
    assert relayed(broker, proven(broker, HOSTS[3])) is None
    for connection in list(senders):
        broker.registry.disconnected(connection, NOW)


# The tables.


def test_new_identities_do_not_have_their_network_forgotten() -> None:
    """They cost nothing, so one source may come with any number of them."""
    windows = PartyWindows(10, total=3)
    for number in range(100):
        counted = windows.count(Party(b"net", bytes([number])), NOW)
        assert counted == number + 1
    assert len(windows._of_key._windows) == 3
    assert windows.counted(Party(b"net", b"new"), NOW) == 100


def test_what_is_counted_apart() -> None:
    windows = PartyWindows(10, total=100)
    party = Party(b"net", b"key")
    assert windows.count(party, NOW, 5, about="a") == 5
    assert windows.count(party, NOW, about="b") == 1
    assert windows.counted(party, NOW) == 0
    assert windows.rest(party, NOW, 5, about="a") == 10
    assert windows.rest(party, NOW, 6, about="a") == 0
    assert windows.count(Party(b"elsewhere", b"key"), NOW + 1, about="a") == 6
    assert windows.rest(Party(b"elsewhere", b"key"), NOW + 1, 2, about="a") == 9


def test_rates_of_one_identity() -> None:
    rates = PartyRates(Rate(10, burst_time=1))
    pauses = [rates.spend(Party(bytes([number]), b"key"), 10, NOW) for number in range(3)]
    assert pauses == [0, 1, 2]
    assert rates.spend(Party(bytes([0])), 10, NOW) == 1  # of its network, which has had 10
    rates.limit_to(Rate(1, burst_time=1))
    assert rates.spend(Party(bytes([2]), b"key"), 1, NOW) == 3


def test_holdings_are_forgotten_when_they_are_none() -> None:
    holdings = Holdings()
    parties = [Party(b"net"), Party(b"net", b"key"), Party(b"other", b"key")]
    for party in parties:
        holdings.add(party)
    assert [holdings.of(party) for party in parties] == [2, 2, 2]
    assert holdings.of(Party(b"other")) == 1
    assert len(holdings) == 3
    for party in parties:
        holdings.remove(party)
    assert len(holdings) == 0


def test_decrement() -> None:
    counter = Counter(a=2)
    decrement(counter, "a")
    assert counter == {"a": 1}
    decrement(counter, "a")
    assert "a" not in counter


def test_network() -> None:
    assert network_of(ip_address("192.0.2.1")) == bytes([192, 0, 2, 1])
    assert network_of(ip_address("2001:db8::1")) == network_of(ip_address("2001:db8::2"))
