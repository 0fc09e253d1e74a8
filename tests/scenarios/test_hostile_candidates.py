"""Peers that name endpoints of others: captures show that no packet is sent there."""

import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from ipaddress import ip_address

import attrs
import pytest
import trio

from trio_p2p import Attempt, Outcome, P2PStream, Route, serve_broker, serve_p2p
from trio_p2p._addresses import MIN_PORT, Endpoint, endpoint_of, is_public
from trio_p2p._traversal.candidates import MAX_DIALLED
from trio_p2p._traversal.port_guessing import GUESSES
from trio_p2p._wire.messages import ReceiverEndpoint, Registered, Update
from trio_p2p._wire.offer import (
    MAX_CANDIDATES,
    Allocation,
    Behaviour,
    Candidate,
    CandidateKind,
    Nat,
    Offer,
)

from ..kit.lab import (
    KINDS,
    Captured,
    NatBehaviour,
    UserspaceHost,
    UserspaceNetwork,
    capturing,
    running,
    start,
)
from ..kit.loopback import DIRECT_TECHNIQUES, AttemptTracer, open_stream
from ..kit.raw_client import RawClient, registration, request

pytestmark = pytest.mark.once

PATIENCE = 60.0  # seconds until something that hangs fails its test
PORT = 5000
APDF = Behaviour.ADDRESS_AND_PORT_DEPENDENT
UNKNOWN = Nat()
NOBODY = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.1.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "2002:7f00:1::1",
    "fe80::1",
    "ff05::1",
]
THIRD_PARTIES = ["192.0.2.200", "2001:db8::1"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"]


@attrs.frozen
class Lab:
    """A hostile peer, an honest one, and whom the hostile one would like it to bother.

    Attributes:
        honest: the honest peer.
        hostile: the other one.
        broker: who introduces them.
        victim: a bystander.
    """

    honest: UserspaceHost
    hostile: UserspaceHost
    broker: UserspaceHost
    victim: UserspaceHost

    def forbidden(self, broker: Endpoint) -> list[Endpoint]:
        """What no honest peer names."""
        hostile, victim = self.hostile.host_address, self.victim.host_address
        return [
            *(Endpoint(ip_address(text), PORT) for text in [*NOBODY, *THIRD_PARTIES]),
            broker,
            attrs.evolve(broker, port=PORT),
            Endpoint(hostile, 22),
            Endpoint(hostile, MIN_PORT - 1),
            Endpoint(victim, 80),
            *([Endpoint(victim, PORT)] if is_public(victim) else []),
        ]

    @property
    def useless(self) -> list[Endpoint]:
        """What is in another network, and named by all peers behind NATs."""
        if not is_public(self.hostile.host_address):
            return []  # it may be a network behind the same NAT
        own = self.honest.host_address, self.honest.gateways[0].inside_address
        return [Endpoint(each, PORT) for each in [*map(ip_address, PRIVATE), *own]]


def on_the_internet(network: UserspaceNetwork) -> Lab:
    honest = network.add_site(kind("eim-apdf"))
    return Lab(honest, network.add_host(), network.add_host(), network.add_host())


def in_one_lan(network: UserspaceNetwork) -> Lab:
    gateway = network.add_nat(kind("masquerade-rst"))
    return Lab(*(network.add_host(behind=gateway) for _ in range(4)))


def kind(name: str) -> NatBehaviour:
    nat = KINDS[name]
    assert nat is not None
    return nat


@contextmanager
def serving(broker: UserspaceHost, probe_port: int | None = None) -> Generator[Endpoint]:
    serve = partial(serve_broker, 0, host=str(broker.host_address), probe_port=probe_port)
    with running(broker.host, serve) as listeners:
        yield endpoint_of(listeners[0].socket.getsockname())


def batches_of(endpoints: Sequence[Endpoint]) -> list[list[Candidate]]:
    """Candidates of both kinds at these endpoints, so many that an offer has room for one more."""
    candidates = [Candidate(each, endpoint) for endpoint in endpoints for each in CandidateKind]
    size = MAX_CANDIDATES - 1
    return [candidates[start : start + size] for start in range(0, len(candidates), size)]


async def listen(host: UserspaceHost) -> tuple[trio.SocketListener, Endpoint]:
    """A listener of a peer's own, and where it is."""
    [listener] = await trio.open_tcp_listeners(0, host=str(host.host_address))
    return listener, endpoint_of(listener.socket.getsockname())


async def open_client(broker: Endpoint, port: int = 0) -> tuple[RawClient, Endpoint]:
    """A connection to the broker, and where it comes from."""
    sock = trio.socket.socket()
    await sock.bind(("0.0.0.0", port))
    await sock.connect(broker.sockaddr)
    return RawClient(trio.SocketStream(sock)), endpoint_of(sock.getsockname())


async def ask_with_offers(
    lab: Lab, broker: Endpoint, nat: Nat, batches: Sequence[Sequence[Candidate]], port: int = 0
) -> set[Endpoint]:
    """Be a hostile sender until the receiver has dialled all that it may; the sender's endpoints.

    Of each offer the last candidate is the sender's own. When it is dialled for a second time,
    everything else has had its turn.
    """
    own: set[Endpoint] = set()
    with trio.fail_after(PATIENCE):
        for batch in batches:
            listener, allowed = await listen(lab.hostile)
            client, endpoint = await open_client(broker, port)
            async with listener, client:
                own |= {allowed, endpoint}
                offer = Offer(nat, (*batch, Candidate(CandidateKind.MAPPED, allowed)))
                await client.greet()
                await client.send(attrs.evolve(request(0, "honest", "fast"), offer=offer))
                await client.receive(ReceiverEndpoint)
                for _ in range(2):
                    await trio.aclose_forcefully(await listener.accept())
    return own


async def register_with_offers(
    lab: Lab,
    broker: Endpoint,
    nat: Nat,
    batches: Sequence[Sequence[Candidate]],
    *,
    task_status: trio.TaskStatus[list[tuple[str, Endpoint, Endpoint]]],
) -> None:
    """Be hostile receivers, each with an offer like those above; their UIDs and two endpoints."""
    receivers = []
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for number, batch in enumerate(batches):
            listener, allowed = await listen(lab.hostile)
            nursery.start_soon(trio.serve_listeners, trio.aclose_forcefully, [listener])
            client, endpoint = await open_client(broker)
            await stack.enter_async_context(client)
            offer = Offer(nat, (*batch, Candidate(CandidateKind.MAPPED, allowed)))
            uid = f"hostile {number}"
            # In one segment: when the first one is answered, the broker has got both.
            challenge = await client.greet()
            await client.send(registration(uid, challenge, broker=broker), Update(offer))
            await client.receive(Registered)
            receivers.append((uid, allowed, endpoint))
        task_status.started(receivers)
        await trio.sleep_forever()


async def open_until(
    uid: str, broker: Endpoint, is_enough: Callable[[list[Attempt]], bool]
) -> list[Attempt]:
    """Try in vain to open a stream, until the attempts are enough."""

    class Enough(AttemptTracer):
        def attempt_ended(self, uid: str, attempt: Attempt) -> None:
            super().attempt_ended(uid, attempt)
            if is_enough(self.attempts):
                scope.cancel(reason="the test has seen enough")

    tracer = Enough()
    with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
        async with open_stream(uid, broker.sockaddr, techniques=DIRECT_TECHNIQUES, tracer=tracer):
            pytest.fail("there is a stream")
    return tracer.attempts


async def accept_nobody(stream: P2PStream) -> None:
    pytest.fail("there is a stream")


def dialled(packets: Sequence[Captured]) -> set[Endpoint]:
    """Where a host has sent TCP segments."""
    return {
        each.destination
        for each in packets
        if each.is_outgoing and each.protocol == socket.IPPROTO_TCP
    }


def sent(packets: Sequence[Captured]) -> set[Endpoint]:
    """Where it has sent anything."""
    return {each.destination for each in packets if each.is_outgoing}


def heard(packets: Sequence[Captured]) -> list[Captured]:
    """What it has received; its kernel itself looks for IPv6 routers, at times of its own."""
    return [each for each in packets if not each.is_outgoing]


@pytest.mark.parametrize("lay_out", [on_the_internet, in_one_lan])
def test_receiver_sends_nothing_where_a_hostile_sender_wants_it(
    lay_out: Callable[[UserspaceNetwork], Lab], userspace_network: UserspaceNetwork
) -> None:
    lab = lay_out(userspace_network)
    with serving(lab.broker) as broker:
        forbidden = lab.forbidden(broker)
        refused = [*forbidden, *lab.useless]
        with (
            capturing(lab.honest) as capture,
            capturing(lab.victim) as bystander,
            running(
                lab.honest.host, serve_p2p, accept_nobody, "honest", broker.sockaddr
            ) as listener,
        ):
            batches = batches_of(refused)
            asking = start(lab.hostile.host, ask_with_offers, lab, broker, UNKNOWN, batches)
            packets = capture.read_until(asking)
            assert dialled(packets) == {broker} | asking.result()
            assert not sent(packets) & (set(refused) - {broker})
            assert not heard(bystander.read())
            statistics = listener.statistics()
    assert statistics.introductions == len(batches)
    assert statistics.forbidden == len(CandidateKind) * len(forbidden)
    assert statistics.wrong_peers >= len(batches)  # who accepted, and could not prove anything
    assert statistics.connected == 0


@pytest.mark.parametrize("lay_out", [on_the_internet, in_one_lan])
def test_sender_sends_nothing_where_a_hostile_receiver_wants_it(
    lay_out: Callable[[UserspaceNetwork], Lab], userspace_network: UserspaceNetwork
) -> None:
    lab = lay_out(userspace_network)
    attempts: list[Attempt] = []
    with serving(lab.broker) as broker:
        forbidden = lab.forbidden(broker)
        refused = [*forbidden, *lab.useless]
        batches = batches_of(refused)
        with (
            capturing(lab.honest) as capture,
            capturing(lab.victim) as bystander,
            running(
                lab.hostile.host, register_with_offers, lab, broker, UNKNOWN, batches
            ) as receivers,
        ):
            for uid, allowed, endpoint in receivers:
                are_enough = partial(_have_led_twice_to, allowed)
                opening = start(lab.honest.host, open_until, uid, broker, are_enough)
                packets = capture.read_until(opening)
                assert dialled(packets) == {broker, allowed, endpoint}
                assert not sent(packets) & (set(refused) - {broker})
                attempts += opening.result()
            assert not heard(bystander.read())
    assert Outcome.CONNECTED not in {each.outcome for each in attempts}
    told = [each for each in attempts if each.outcome is Outcome.FORBIDDEN]
    assert {each.remote for each in told} == set(forbidden)
    assert {each.route for each in told} == {Route.HOST, Route.MAPPED}
    assert len(told) == len(CandidateKind) * len(forbidden)
    assert all(each.local is None for each in told)


def _have_led_twice_to(remote: Endpoint, attempts: Sequence[Attempt]) -> bool:
    return [each.remote for each in attempts].count(remote) == 2


@pytest.mark.parametrize(
    ("step", "ports"),
    [
        pytest.param(1, range(8301, 8301 + MAX_DIALLED - 2), id="so many"),
        pytest.param(-2048, [6252, 4204, 2156], id="down to services"),
    ],
)
def test_few_ports_are_predicted_whatever_a_hostile_sender_says(
    step: int, ports: Sequence[int], userspace_network: UserspaceNetwork
) -> None:
    lab = on_the_internet(userspace_network)
    nat = Nat(APDF, APDF, Allocation.SEQUENTIAL, step)
    with (
        serving(lab.broker) as broker,
        capturing(lab.honest) as capture,
        running(lab.honest.host, serve_p2p, accept_nobody, "honest", broker.sockaddr),
    ):
        asking = start(lab.hostile.host, ask_with_offers, lab, broker, nat, [[]], 8300)
        packets = capture.read_until(asking)
    predicted = {Endpoint(lab.hostile.host_address, port) for port in ports}
    assert dialled(packets) == {broker} | asking.result() | predicted


@pytest.mark.slow
def test_ports_are_guessed_where_the_broker_sees_the_peer_and_nowhere_else(
    userspace_network: UserspaceNetwork,
) -> None:
    lab = on_the_internet(userspace_network)
    nat = Nat(APDF, APDF, Allocation.RANDOM)
    with (
        serving(lab.broker, probe_port=0) as broker,
        capturing(lab.honest) as capture,
        capturing(lab.victim) as bystander,
        running(lab.hostile.host, register_with_offers, lab, broker, nat, [[]]) as [
            (uid, allowed, endpoint)
        ],
    ):
        opening = start(lab.honest.host, open_until, uid, broker, _have_guessed)
        packets = capture.read_until(opening)
        assert opening.result()[-1].outcome in (Outcome.SILENT, Outcome.WRONG_PEER)
        assert not heard(bystander.read())
    assert {each.address for each in dialled(packets)} == {broker.address, endpoint.address}
    known = broker, endpoint, allowed  # which may be guessed as well
    guesses = [
        each.destination.port
        for each in packets
        if each.is_outgoing
        and each.protocol == socket.IPPROTO_TCP
        and each.destination.address == endpoint.address
        and each.destination not in known
    ]
    assert GUESSES - len(known) <= len(guesses) <= GUESSES
    assert min(guesses) >= MIN_PORT


def _have_guessed(attempts: Sequence[Attempt]) -> bool:
    return attempts[-1].route is Route.GUESSED


def test_captures_show_what_leaves_by_any_interface(userspace_network: UserspaceNetwork) -> None:
    lab = on_the_internet(userspace_network)
    endpoints = [
        Endpoint(ip_address("127.0.0.1"), PORT),
        Endpoint(ip_address("::1"), PORT),
        Endpoint(lab.honest.host_address, PORT),
        Endpoint(lab.victim.host_address, PORT),
    ]

    def dial() -> None:
        for endpoint in endpoints:
            with suppress(ConnectionRefusedError):
                socket.create_connection(endpoint.sockaddr).close()

    with capturing(lab.honest) as capture, capturing(lab.victim) as bystander:
        lab.honest.host.call(dial)
        assert dialled(capture.read()) >= set(endpoints)
        assert heard(bystander.read())
        assert not capture.read()
