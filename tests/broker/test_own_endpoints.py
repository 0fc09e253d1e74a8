"""Registrations are for the broker that they are signed for, and for no other one."""

from ipaddress import ip_address

import attrs
import pytest

from trio_p2p._addresses import Endpoint
from trio_p2p._broker.own_endpoints import OwnEndpoints
from trio_p2p._wire.messages import RefusalCode, Registered

from ..kit.raw_client import BROKER, registration
from .registries import Broker, refusal


def endpoint(host: str, port: int = 4433) -> Endpoint:
    return Endpoint(ip_address(host), port)


LOCAL, EXTERNAL = endpoint("192.0.2.1"), endpoint("198.51.100.1")


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (LOCAL, True),
        (EXTERNAL, True),
        (endpoint("192.0.2.2"), False),
        (endpoint("192.0.2.1", 4434), False),
        (endpoint("198.51.100.1", 4434), False),
        (BROKER, False),
    ],
)
def test_own_endpoints_are_the_local_one_and_the_external_ones(
    named: Endpoint, expected: bool
) -> None:
    assert OwnEndpoints([EXTERNAL]).include(named, LOCAL) is expected


def test_broker_at_a_public_address_knows_its_endpoint() -> None:
    assert not OwnEndpoints().include(EXTERNAL, LOCAL)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1"])
def test_broker_at_a_private_address_does_not_and_says_so(host: str) -> None:
    taken: list[tuple[Endpoint, Endpoint]] = []
    local = endpoint(host)
    own = OwnEndpoints(taken=lambda *endpoints: taken.append(endpoints))
    assert own.include(local, local)
    assert not taken
    assert own.include(EXTERNAL, local)
    assert taken == [(EXTERNAL, local)]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1"])
def test_broker_at_a_private_address_that_was_told_of_others_takes_those_only(host: str) -> None:
    own = OwnEndpoints([EXTERNAL])
    assert own.include(EXTERNAL, endpoint(host))
    assert not own.include(endpoint("192.0.2.2"), endpoint(host))


def test_registration_for_another_broker_is_refused() -> None:
    broker = Broker(local=LOCAL, external=(EXTERNAL,))
    there = endpoint("203.0.113.66")
    client = broker.greeted()
    signed = registration("alice", client.challenge, broker=there)
    refused = refusal(broker.say(client, signed), client)
    assert (refused.code, refused.number) == (RefusalCode.IDENTITY_NOT_PROVEN, 0)
    assert f"for the broker at {there}" in refused.reason
    assert "--external" in refused.reason
    # Nor does it help to name this one, which was not signed.
    client = broker.greeted()
    signed = registration("alice", client.challenge, broker=there)
    refused = refusal(broker.say(client, attrs.evolve(signed, broker=LOCAL)), client)
    assert refused.code is RefusalCode.IDENTITY_NOT_PROVEN
    assert broker.registry.uids == frozenset()


@pytest.mark.parametrize("named", [LOCAL, EXTERNAL])
def test_registration_for_this_broker_is_taken(named: Endpoint) -> None:
    broker = Broker(local=LOCAL, external=(EXTERNAL,))
    client = broker.greeted()
    outgoing = broker.say(client, registration("alice", client.challenge, broker=named))
    assert outgoing == [(client, Registered(0, client.endpoint))]
