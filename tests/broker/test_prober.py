"""Probes: whom the broker calls back, how often, and how many at a time."""

import pytest

from trio_p2p._attempt import Outcome
from trio_p2p._broker.connection import Probes, State
from trio_p2p._broker.prober import (
    CALLS_PER_WINDOW,
    MAX_CALLS,
    MAX_NETWORKS,
    PROBE_TIME,
    WINDOW_TIME,
    CallQuota,
)
from trio_p2p._wire.messages import CallBack, CalledBack, Hello, Observed, Probe

from .registries import NOW, PROBES, Broker, broker as broker, refusal


def test_client_is_told_its_own_endpoint(broker: Broker) -> None:
    client = broker.greeted()
    assert broker.say(client, Probe(), now=NOW + 2) == [(client, Observed(client.endpoint))]
    assert client.state is State.PROBED
    assert client.deadline == NOW + 2 + PROBE_TIME
    assert broker.registry.expired(client, NOW) == []
    assert client.is_closed


@pytest.mark.parametrize(
    ("host", "probes", "port"),
    [
        ("203.0.113.5", PROBES, 4434),
        ("2001:db8::5", PROBES, 4436),
        ("2001:db8::5", Probes({4: 4434}), None),
        ("203.0.113.5", None, None),
    ],
)
def test_greeting_says_where_to_probe(host: str, probes: Probes | None, port: int | None) -> None:
    broker = Broker(probes=probes)
    ((_, hello),) = broker.say(broker.connect(host), Hello())
    assert isinstance(hello, Hello)
    assert hello.probe_port == port
    assert hello.probes == (() if probes is None else probes.endpoints)


def test_client_is_called_back_once(broker: Broker) -> None:
    client = broker.called(now=NOW + 1)
    assert (client.state, client.deadline) == (State.CALLED, NOW + 1 + PROBE_TIME)
    assert broker.registry.calls == 1
    result = CalledBack(Outcome.CONNECTED, Outcome.SILENT)
    assert broker.registry.called_back(client, result) == [(client, result)]
    assert client.is_closed
    assert broker.registry.calls == 0
    assert broker.registry.called_back(client, result) == []
    assert broker.registry.calls == 0


def test_broker_without_probes_calls_nobody() -> None:
    broker = Broker(probes=None)
    client = broker.greeted()
    broker.say(client, Probe())
    assert broker.say(client, CallBack()) == [(client, CalledBack())]
    assert client.is_closed
    assert broker.registry.calls == 0


@pytest.mark.parametrize("end", ["gone", "expired", "violates"])
def test_end_of_who_is_called_back(broker: Broker, end: str) -> None:
    client = broker.called()
    match end:
        case "gone":
            assert broker.registry.disconnected(client, NOW) == []
        case "expired":
            assert broker.registry.expired(client, NOW) == []
        case _:
            refusal(broker.say(client, CallBack()), client)
    assert client.is_closed
    assert broker.registry.calls == 0


def test_one_network_is_called_back_so_often(broker: Broker) -> None:
    for _ in range(CALLS_PER_WINDOW):
        assert broker.called(now=NOW).state is State.CALLED
    client = broker.greeted()
    broker.say(client, Probe())
    assert broker.say(client, CallBack(), now=NOW + 59) == [(client, CalledBack())]
    assert broker.called("203.0.113.6").state is State.CALLED
    assert broker.called(now=NOW + WINDOW_TIME).state is State.CALLED


def test_so_many_are_called_back_at_a_time(broker: Broker) -> None:
    clients = [broker.called(f"198.51.100.{number}") for number in range(MAX_CALLS)]
    assert broker.registry.calls == MAX_CALLS
    assert broker.called().is_closed
    broker.registry.disconnected(clients[0], NOW)
    assert broker.called().state is State.CALLED


def test_quota_of_calls_is_bounded() -> None:
    quota = CallQuota()
    for number in range(2 * MAX_NETWORKS):
        assert quota.take(number.to_bytes(4, "big"), NOW)
        quota.give_back()
    assert len(quota._windows._windows) == MAX_NETWORKS


def test_ipv6_addresses_of_one_host_count_together(broker: Broker) -> None:
    for number in range(CALLS_PER_WINDOW):
        assert broker.called(f"2001:db8::{number:x}").state is State.CALLED
    assert broker.called("2001:db8::ffff").is_closed
    assert broker.called("2001:db8:0:1::1").state is State.CALLED
