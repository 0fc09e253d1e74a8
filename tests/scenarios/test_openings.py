"""Who opens the hole, and who comes through it: each way by itself, and where one does not work."""

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
import trio

from trio_p2p import Attempt, Outcome, PathLostError, Route, Technique, serve_broker, serve_p2p
from trio_p2p._connect.rounds import ROUNDS
from trio_p2p._wire.offer import Opening
from trio_p2p.testing._internet.behaviour import Dependence, NatBehaviour, Refusal

from ..kit.lab import KINDS, NamespacesUnavailableError, UserspaceNetwork, run, running
from ..kit.lab.userspace import UserspaceHost
from ..kit.loopback import AttemptTracer, echo, open_stream

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 60.0  # seconds until a pair that does not connect fails its test
GREETING = b"through the hole"
TRIES = 4
NEAR, FAR = 0.03, 0.12  # seconds, there and back
CROSSING = 0.6  # as long: SYNs have half of it to cross, which a busy machine can meet
RST = NatBehaviour(
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
    with running(server.host, partial(serve_broker, 0, host=address, probe_port=0)) as [
        listener,
        *_,
    ]:
        yield address, listener.socket.getsockname()[1]


def call(sender: UserspaceHost, uid: str, broker: Broker, *techniques: Technique) -> list[Attempt]:
    """What a sender tries until it has a direct stream to the receiver."""
    tracer = AttemptTracer()

    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_stream(uid, broker, techniques=techniques, tracer=tracer) as stream:
                await stream.send_all(GREETING)
                assert await stream.receive_some() == GREETING

    run(sender.host, send)
    return tracer.attempts


def connect(sender: UserspaceHost, receiver: UserspaceHost, broker: Broker) -> list[Attempt]:
    """What is tried by the fast technique where the broker sees the peer."""
    uid = str(receiver.host_address)  # another one than that of a receiver that is just leaving
    with running(receiver.host, serve_p2p, echo, uid, broker):
        attempts = call(sender, uid, broker, Technique.FAST)
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
def test_syns_cross_wherever_the_broker_is(
    far: str,
    network: UserspaceNetwork,
    server: UserspaceHost,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One is next to the broker, and told so early that its SYN would come too early.
    monkeypatch.setitem(ROUNDS, Technique.FAST, ((Opening.CROSSING, 5.0),))
    sites = {"sender": network.add_site(FORGETFUL), "receiver": network.add_site(FORGETFUL)}
    network.set_round_trip(sites[far], server, 0.8)  # they are told 0.4 s apart
    network.set_round_trip(sites["sender"], sites["receiver"], CROSSING)
    [*_, last] = connect(sites["sender"], sites["receiver"], broker)
    assert last.outcome is Outcome.CONNECTED


def test_holes_need_not_outlive_guards(
    network: UserspaceNetwork, server: UserspaceHost, broker: Broker
) -> None:
    sender, receiver = network.add_site(FORGETFUL), network.add_site(FORGETFUL)
    network.set_round_trip(sender, receiver, CROSSING)
    for host in (sender, receiver):  # the broker is half way
        network.set_round_trip(host, server, CROSSING / 2)
    for _ in range(TRIES):
        # On a busy machine a guard may die so late that a SYN has passed, whose connection breaks.
        with suppress(PathLostError):
            [*_, last] = connect(sender, receiver, broker)
            assert last.outcome is Outcome.CONNECTED
            return
    raise AssertionError


def test_next_call_is_not_caught_by_holes_for_the_last_one(
    network: UserspaceNetwork, server: UserspaceHost, broker: Broker
) -> None:
    # The receiver holds ports that the sender's NAT is going to give: to the next call.
    sender, receiver = (network.add_site(KINDS[kind]) for kind in ("sequential", "eim-apdf"))
    for host in (sender, receiver):
        network.set_round_trip(host, server, 0.04)
    network.set_round_trip(sender, receiver, NEAR)
    with running(receiver.host, serve_p2p, echo, "echo", broker):
        for _ in range(2):
            attempts = call(sender, "echo", broker, Technique.FAST, Technique.CLASSIC)
            assert Outcome.WRONG_PEER not in [attempt.outcome for attempt in attempts]
