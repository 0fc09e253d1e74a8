"""Several names on one connection, beside what it asks for and watches."""

import pytest

from trio_p2p._broker.connection import Connection, State
from trio_p2p._broker.limits import BrokerLimits
from trio_p2p._broker.registrations import MAX_NAMES
from trio_p2p._wire.messages import (
    ConnectionRequest,
    KeepAlive,
    Kill,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Registered,
    RegisteredAgain,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Watch,
)

from ..kit.raw_client import identity_of, registration, request
from .registries import ALICE, NOW, Broker, broker as broker, refusal

MALLORY = identity_of("mallory")


def names_of(connection: Connection) -> dict[int, str]:
    return {each.number: each.name.uid for each in connection.registrations}


@pytest.fixture
def receiver(broker: Broker) -> Connection:
    """A connection with three names of one identity."""
    connection = broker.greeted()
    for number, uid in enumerate(("alice", "al", "lice")):
        outgoing = broker.register(connection, uid, ALICE, number=number)
        assert outgoing == [(connection, Registered(number, connection.endpoint))]
    return connection


def test_each_name_is_asked_for(broker: Broker, receiver: Connection) -> None:
    assert broker.registry.uids == {"alice", "al", "lice"}
    for number, uid in names_of(receiver).items():
        (to, told), (_, answer) = broker.say(broker.greeted(), request(9, uid, "fast"))
        assert to is receiver
        assert isinstance(told, SenderEndpoint)
        assert told.registration == number
        assert isinstance(answer, ReceiverEndpoint)
        assert answer.certificate == ALICE.certificate
        for technique, kind in (("classic", ConnectionRequest), ("relay", RelayRequest)):
            ((to, asked),) = broker.say(broker.greeted(), request(9, uid, technique))
            assert to is receiver
            assert isinstance(asked, kind)
            assert asked.registration == number


def test_names_of_several_identities_share_a_connection(
    broker: Broker, receiver: Connection
) -> None:
    broker.register(receiver, "mallory", MALLORY, number=3)
    for uid, identity in (("mallory", MALLORY), ("alice", ALICE)):
        _, (_, answer) = broker.say(broker.greeted(), request(9, uid, "fast"))
        assert isinstance(answer, ReceiverEndpoint)
        assert answer.certificate == identity.certificate


@pytest.mark.parametrize("uid", ["taken", pytest.param(str(MALLORY.peer_id), id="a peer id")])
def test_refusal_of_one_leaves_the_others(broker: Broker, receiver: Connection, uid: str) -> None:
    broker.receiver("taken")
    refused = refusal(broker.register(receiver, uid, ALICE, number=7), receiver)
    assert refused.number == 7
    assert names_of(receiver) == {0: "alice", 1: "al", 2: "lice"}
    # Nor is the number spent.
    assert broker.register(receiver, "free", ALICE, number=7) == [
        (receiver, Registered(7, receiver.endpoint))
    ]


def test_refused_first_registration_leaves_the_connection(broker: Broker) -> None:
    broker.receiver()
    client = broker.greeted()
    refusal(broker.register(client, "alice", MALLORY), client)
    assert client.state is State.CONTROL
    assert broker.register(client, "mallory")[0][1] == Registered(0, client.endpoint)


def test_challenge_of_another_connection_does_not_help(
    broker: Broker, receiver: Connection
) -> None:
    message = registration("bob", broker.greeted().challenge, number=7)
    refused = refusal(broker.say(receiver, message), receiver)
    assert (refused.code, refused.number) == (RefusalCode.IDENTITY_NOT_PROVEN, 7)
    assert len(names_of(receiver)) == 3


@pytest.mark.parametrize("number", [0, 1, 2])
def test_name_that_is_given_back_is_free_at_once(
    broker: Broker, receiver: Connection, number: int
) -> None:
    names = names_of(receiver)
    uid = names.pop(number)
    asked, _ = broker.waiting(uid)
    others = [broker.waiting(other)[0] for other in names.values()]
    refused = refusal(broker.say(receiver, Unregister(number)), asked)
    assert refused.code is RefusalCode.RECEIVER_LOST
    assert names_of(receiver) == names
    assert broker.registry.reserved == 0
    assert all(each.state is State.WAITING for each in others)
    other = broker.greeted()
    assert broker.register(other, uid, MALLORY)[0] == (other, Registered(0, other.endpoint))


def test_giving_back_what_is_not_registered_is_no_error(
    broker: Broker, receiver: Connection
) -> None:
    """The broker may have refused it just now."""
    assert broker.say(receiver, Unregister(7)) == []
    assert broker.say(receiver, Unregister(1), Unregister(1)) == []
    assert names_of(receiver) == {0: "alice", 2: "lice"}


def test_number_of_what_was_given_back_may_be_used_again(
    broker: Broker, receiver: Connection
) -> None:
    broker.say(receiver, Unregister(1))
    broker.register(receiver, "bob", number=1)
    assert names_of(receiver) == {0: "alice", 1: "bob", 2: "lice"}


def test_number_in_use_is_a_violation(broker: Broker, receiver: Connection) -> None:
    refused = refusal(broker.register(receiver, "bob", number=1), receiver)
    assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, None)
    assert receiver.is_closed
    assert broker.registry.uids == frozenset()
    assert broker.registry.reserved == 3


def test_largest_number_is_one_like_others(broker: Broker) -> None:
    connection = broker.receiver(number=2**32 - 1)
    (_, told), _ = broker.say(broker.greeted(), request(0, "alice", "fast"))
    assert isinstance(told, SenderEndpoint)
    assert told.registration == 2**32 - 1
    broker.say(connection, Unregister(2**32 - 1))
    assert broker.registry.uids == frozenset()


def test_loss_of_the_connection_reserves_all(broker: Broker, receiver: Connection) -> None:
    assert broker.registry.disconnected(receiver, NOW) == []
    assert broker.registry.uids == frozenset()
    assert broker.registry.reserved == 3
    other = broker.greeted()
    for number, uid in enumerate(("alice", "al", "lice")):
        refused = refusal(broker.register(other, uid, MALLORY, number=number), other)
        assert (refused.code, refused.number) == (RefusalCode.UID_TAKEN, number)


def test_kill_gives_all_back(broker: Broker, receiver: Connection) -> None:
    waiting = [broker.waiting(uid)[0] for uid in names_of(receiver).values()]
    told = dict(broker.say(receiver, Kill()))
    assert set(told) == set(waiting)
    assert receiver.is_closed
    assert broker.registry.uids == frozenset()
    assert broker.registry.reserved == 0


# Who holds a name.


@pytest.mark.parametrize("instance", [0, 1])
def test_name_is_taken_over_and_the_connection_goes_on(
    broker: Broker, receiver: Connection, instance: int
) -> None:
    waiting, _ = broker.waiting("al")
    newer = broker.greeted()
    (to, refused), (_, lost), (_, registered) = broker.register(
        newer, "al", ALICE, number=5, instance=instance
    )
    assert to is receiver
    assert isinstance(refused, Refused)
    assert (refused.code, refused.number) == (RefusalCode.UID_TAKEN, 1)
    assert isinstance(lost, Refused)
    assert waiting.is_closed
    assert registered == Registered(5, newer.endpoint)
    assert receiver.state is State.CONTROL
    assert names_of(receiver) == {0: "alice", 2: "lice"}
    assert names_of(newer) == {5: "al"}
    broker.registry.disconnected(receiver, NOW)
    assert broker.registry.uids == {"al"}
    assert broker.registry.reserved == 2


def test_connection_may_take_its_own_name_over(broker: Broker, receiver: Connection) -> None:
    (to, refused), (_, registered) = broker.register(
        receiver, "al", ALICE, number=5, stream=StreamKind.RAW
    )
    assert to is receiver
    assert isinstance(refused, Refused)
    assert refused.number == 1
    assert registered == Registered(5, receiver.endpoint)
    assert names_of(receiver) == {0: "alice", 2: "lice", 5: "al"}


def test_name_is_for_one_kind_of_stream(broker: Broker, receiver: Connection) -> None:
    broker.register(receiver, "raw", ALICE, number=3, stream=StreamKind.RAW)
    sender = broker.greeted()
    assert len(broker.say(sender, request(0, "raw", "fast", StreamKind.RAW))) == 2
    for uid, kind in (("raw", StreamKind.SESSION), ("al", StreamKind.RAW)):
        refused = refusal(broker.say(sender, request(9, uid, "fast", kind)), sender)
        assert (refused.code, refused.number) == (RefusalCode.UNSUPPORTED_STREAM, 9)


def test_another_kind_of_stream_takes_the_name_over_from_both_versions(broker: Broker) -> None:
    """Senders must not get another kind by IPv6 than by IPv4."""
    old = [broker.receiver(host=host) for host in ("203.0.113.5", "2001:db8::5")]
    *refusals, _ = broker.register(broker.greeted(), stream=StreamKind.RAW)
    assert [to for to, _ in refusals] == old


# Beside other things.


def test_one_connection_registers_asks_and_watches(broker: Broker) -> None:
    other = broker.receiver("bob")
    peer = broker.greeted()
    assert broker.say(peer, Watch("bob")) == []
    broker.register(peer, number=1)
    (to, told), (_, answer) = broker.say(peer, request(2, "bob", "fast"))
    assert to is other
    assert isinstance(told, SenderEndpoint)
    assert told.endpoint == peer.endpoint
    assert isinstance(answer, ReceiverEndpoint)
    assert answer.number == 2
    (to, told), _ = broker.say(other, request(7, "alice", "fast"))
    assert to is peer
    assert isinstance(told, SenderEndpoint)
    assert told.registration == 1
    *_, again = broker.register(broker.greeted(), "bob")
    assert again == (peer, RegisteredAgain("bob"))
    broker.say(peer, Watch("bob"))
    broker.registry.disconnected(peer, NOW)
    assert broker.registry.watches == 0
    assert broker.registry.uids == {"bob"}


def test_peer_may_ask_for_its_own_name(broker: Broker, receiver: Connection) -> None:
    (to, told), (back, answer) = broker.say(receiver, request(9, "al", "fast"))
    assert to is back is receiver
    assert isinstance(told, SenderEndpoint)
    assert isinstance(answer, ReceiverEndpoint)
    assert told.nonce == answer.nonce


@pytest.mark.parametrize("technique", ["classic", "relay"])
def test_what_takes_a_connection_of_its_own_does_not_end_this_one(
    broker: Broker, receiver: Connection, technique: str
) -> None:
    broker.receiver("bob")
    refused = refusal(broker.say(receiver, request(9, "bob", technique)), receiver)
    assert (refused.code, refused.number) == (RefusalCode.PROTOCOL_VIOLATION, 9)
    assert len(names_of(receiver)) == 3


def test_asking_for_unknown_names_ends_no_registration() -> None:
    """Others at the same address may have guessed the most."""
    broker = Broker(limits=BrokerLimits(unknown_uids=1))
    receiver, bystander = broker.receiver(), broker.greeted()
    refusals = [
        refusal(broker.say(receiver, request(number, "x", "fast")), receiver) for number in range(4)
    ]
    assert [each.number for each in refusals] == [0, 1, 2, 3]
    assert refusals[-1].code is RefusalCode.BUSY
    refusal(broker.say(bystander, request(0, "x", "fast")), bystander)
    assert bystander.is_closed
    assert not receiver.is_closed


# News.


def test_another_version_of_ip_is_no_news_the_first_time(broker: Broker) -> None:
    watcher = broker.greeted()

    def is_told(host: str, instance: int = 0) -> bool:
        broker.say(watcher, Watch("alice"))
        outgoing = broker.register(broker.greeted(host=host), instance=instance)
        return (watcher, RegisteredAgain("alice")) in outgoing

    ipv4, ipv6 = "203.0.113.5", "2001:db8::5"
    assert is_told(ipv4)
    assert not is_told(ipv6)
    assert is_told(ipv6)  # the peer has moved
    assert is_told(ipv4)
    assert is_told(ipv4, 1)
    assert not is_told(ipv6, 1)


def test_version_of_ip_that_was_lost_is_news_when_it_comes_back(broker: Broker) -> None:
    broker.receiver()
    lost = broker.receiver(host="2001:db8::5")
    watcher = broker.greeted()
    broker.say(watcher, Watch("alice"))
    broker.registry.disconnected(lost, NOW)
    *_, told = broker.register(broker.greeted(host="2001:db8::5"))
    assert told == (watcher, RegisteredAgain("alice"))


# Limits.


def test_connection_has_so_many_names(broker: Broker) -> None:
    connection = broker.greeted()
    for number in range(MAX_NAMES):
        broker.register(connection, f"name {number}", ALICE, number=number)
    assert len(broker.registry.uids) == MAX_NAMES
    refused = refusal(broker.register(connection, number=MAX_NAMES), connection)
    assert (refused.code, refused.number) == (RefusalCode.BUSY, MAX_NAMES)
    assert refused.retry_after == 60_000
    broker.say(connection, Unregister(0))
    broker.register(connection, number=MAX_NAMES)
    assert len(broker.registry.uids) == MAX_NAMES


def test_names_of_a_connection_share_one_certificate(broker: Broker, receiver: Connection) -> None:
    assert len({id(each.name.certificate) for each in receiver.registrations}) == 1


def test_whatever_registers_or_gives_back_is_there(broker: Broker, receiver: Connection) -> None:
    for seconds, message in (
        (10, registration("bob", receiver.challenge, number=9)),
        (20, Unregister(9)),
        (30, Watch("bob")),
        (40, request(0, "bob", "fast")),
        (50, KeepAlive()),
    ):
        broker.say(receiver, message, now=NOW + seconds)
        assert receiver.deadline == NOW + seconds + 65
