"""Who opens the hole, and who comes through it: each way by itself, and where one does not work."""

import dataclasses
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from trio_p2p import (
    Attempt,
    Outcome,
    P2PStream,
    Route,
    Technique,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)
from trio_p2p._rounds import ROUNDS
from trio_p2p._wire.offer import Opening

from .lab import NamespacesUnavailableError, UserspaceNetwork, run, running
from .lab.internet.behaviour import Dependence, Refusal, UserspaceNat
from .lab.userspace import UserspaceHost

PATIENCE = 30.0  # seconds until a pair that does not connect fails its test
GREETING = b"through the hole"
NEAR, FAR = 0.03, 0.12  # seconds, there and back
RST = UserspaceNat(
    mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT, refusal=Refusal.RST, tracks_isn=True
)
# Nothing that is guarded works behind it: when the SYN dies, so does the hole.
FORGETFUL = dataclasses.replace(RST, closes_on_time_exceeded=True)
Broker = tuple[str, int]


@pytest.fixture(scope="module")
def network(_namespaces: None) -> Iterator[UserspaceNetwork]:
    try:
        network = UserspaceNetwork(seed="openings")
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))
    with network:
        yield network


@pytest.fixture(scope="module")
def server(network: UserspaceNetwork) -> UserspaceHost:
    return network.add_host()


@pytest.fixture(scope="module")
def broker(server: UserspaceHost) -> Iterator[Broker]:
    address = str(server.host_address)
    with running(server.host, partial(serve_broker, 0, host=address)) as [listener, *_]:
        yield address, listener.socket.getsockname()[1]


def connect(sender: UserspaceHost, receiver: UserspaceHost, broker: Broker) -> list[Attempt]:
    """What the sender tries until it has a direct stream."""
    attempts: list[Attempt] = []

    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream(
                "echo", broker, path="direct", techniques=["fast"], on_attempt=attempts.append
            ) as stream:
                await stream.send_all(GREETING)
                assert await stream.receive_some() == GREETING

    async def echo(stream: P2PStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    with running(receiver.host, serve_p2p, echo, "echo", broker):
        run(sender.host, send)
    return [attempt for attempt in attempts if attempt.route is Route.REFLEXIVE]


@pytest.mark.parametrize("opening", Opening)
def test_each_opening_connects_by_itself(
    opening: Opening, network: UserspaceNetwork, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROUNDS, Technique.FAST, ((opening, 5.0),))
    sender, receiver = network.add_site(RST), network.add_site(RST)
    network.set_round_trip(sender, receiver, FAR)
    [*_, last] = connect(sender, receiver, broker)
    assert last.outcome is Outcome.CONNECTED


@pytest.mark.parametrize("far", ["sender", "receiver"])
def test_syns_cross_where_holes_do_not_outlive_guards(
    far: str, network: UserspaceNetwork, server: UserspaceHost, broker: Broker
) -> None:
    # One is next to the broker, and told so early that its SYN would come too early.
    sites = {"sender": network.add_site(FORGETFUL), "receiver": network.add_site(FORGETFUL)}
    network.set_round_trip(sites[far], server, FAR)
    network.set_round_trip(sites["sender"], sites["receiver"], NEAR)
    attempts = connect(sites["sender"], sites["receiver"], broker)
    first, second = (
        [each.outcome for each in attempts if each.local == local]
        for local in dict.fromkeys(each.local for each in attempts)
    )
    assert Outcome.CONNECTED not in first
    assert second == [Outcome.CONNECTED]
