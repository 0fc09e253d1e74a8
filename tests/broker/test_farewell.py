"""What a broker that goes away still does, and what it refuses."""

import pytest

from trio_p2p._broker.connection import Connection, State
from trio_p2p._broker.farewell import INTRODUCED_TIME
from trio_p2p._wire.messages import (
    Acknowledge,
    Draining,
    HolePunched,
    KeepAlive,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    SenderEndpoint,
    Watch,
)

from ..kit.raw_client import request
from .registries import NOW, Broker, refusal

NOTICE = Draining(5000)


def drained(broker: Broker, *connections: Connection) -> list[Connection]:
    """Who is told that a broker goes away."""
    outgoing = broker.registry.drain(connections, NOTICE)
    assert {message for _, message in outgoing} <= {NOTICE}
    return [connection for connection, _ in outgoing]


def test_control_connections_are_told_now_or_when_they_become_one() -> None:
    broker = Broker()
    receiver, greeted, new = broker.receiver("alice"), broker.greeted(), broker.connect()
    assert drained(broker, receiver, greeted, new) == [receiver]
    assert broker.registry.is_draining
    assert broker.say(greeted, KeepAlive()) == [(greeted, NOTICE)]
    assert broker.say(greeted, KeepAlive()) == []
    assert broker.say(receiver, KeepAlive()) == []


@pytest.mark.parametrize("technique", ["fast", "classic", "relay"])
def test_nothing_new_is_begun(technique: str) -> None:
    broker = Broker()
    receiver, sender = broker.receiver("alice"), broker.greeted()
    drained(broker, receiver, sender)
    for uid in ("alice", "unknown"):  # which may be known to the next broker
        refused = refusal(broker.say(sender, request(3, uid, technique)), sender)
        assert (refused.code, refused.number, refused.retry_after) == (RefusalCode.BUSY, 3, 5000)
    assert sender.state is State.READY
    [(_, refused_too)] = broker.register(broker.greeted(), "bob")
    assert isinstance(refused_too, Refused)
    assert refused_too.code is RefusalCode.BUSY
    assert broker.registry.uids == {"alice"}
    watcher = broker.greeted()
    assert broker.say(watcher, Watch("alice")) == [(watcher, NOTICE)]


def test_classic_introduction_under_way_is_finished() -> None:
    broker = Broker()
    receiver = broker.receiver("alice")
    sender, introduction = broker.waiting()
    assert drained(broker, receiver, sender) == [receiver]
    [(_, told)] = broker.say(broker.greeted(), Acknowledge(introduction))
    assert isinstance(told, SenderEndpoint)
    assert broker.registry.pending_introductions == 1
    [(to, answer)] = broker.say(broker.greeted(), HolePunched(introduction))
    assert to is sender
    assert isinstance(answer, ReceiverEndpoint)
    assert broker.registry.pending_introductions == 0


def test_peers_that_were_introduced_have_time_to_connect() -> None:
    broker = Broker()
    broker.receiver("alice")
    assert broker.registry.is_settled(NOW)
    broker.say(broker.greeted(), request(0, "alice", "fast"))
    assert not broker.registry.is_settled(NOW + INTRODUCED_TIME - 1)
    assert broker.registry.is_settled(NOW + INTRODUCED_TIME)
