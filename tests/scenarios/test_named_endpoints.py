"""Brokers that name endpoints of others: nothing is sent there, whatever they are named for."""

import socket
from ipaddress import ip_address

import attrs
import pytest
import trio

from trio_p2p import (
    Endpoint,
    IntroductionError,
    Outcome,
    open_p2p_listener,
)
from trio_p2p._nat.hairpin import is_hairpinning
from trio_p2p._nat.survey import survey_nat
from trio_p2p._net.system import System, system_in_use
from trio_p2p._wire.messages import (
    NONCE_BYTES,
    Hello,
    IntroductionRequest,
    ReceiverEndpoint,
    SenderEndpoint,
)
from trio_p2p._wire.offer import Allocation, Behaviour, Nat, Offer

from ..kit.fake_broker import open_fake_broker, register_client
from ..kit.hostile import CERTIFICATE, GREETING
from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    PATIENCE,
    AttemptTracer,
    attempts_of,
    finder_of,
    open_stream,
    until,
)
from ..kit.raw_client import RawClient

APDF = Behaviour.ADDRESS_AND_PORT_DEPENDENT
RANDOM = Nat(APDF, APDF, Allocation.RANDOM)
# A service of this host, one of the private network, and one on the internet.
PLACES = [
    Endpoint(ip_address(address), port)
    for address, port in (("127.0.0.1", 25), ("192.168.1.1", 8080), ("192.0.2.1", 22))
]


class ListingSystem(System):
    """This host, and where connections were to be made to."""

    def __init__(self) -> None:
        self.dialled: set[Endpoint] = set()

    def start_connecting(self, sock: socket.socket, remote: Endpoint) -> None:
        self.dialled.add(remote)
        assert remote not in PLACES
        super().start_connecting(sock, remote)


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_sender_does_not_dial_what_is_said_to_be_the_receiver(
    place: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._connect.rounds.MIN_ROUND_TRIPS", 0)
    tracer = AttemptTracer()

    async def scan(client: RawClient) -> None:
        await client.receive(Hello)
        await client.send(GREETING)
        while True:
            request = await client.channel.receive()
            if isinstance(request, IntroductionRequest):
                offer = Offer(RANDOM)
                await client.send(
                    ReceiverEndpoint(
                        request.number, place, bytes(NONCE_BYTES), CERTIFICATE, offer=offer
                    )
                )

    system = ListingSystem()
    with system_in_use(system), trio.fail_after(PATIENCE):
        async with open_fake_broker(scan) as address:
            with pytest.raises(IntroductionError) as caught:
                async with open_stream(
                    "alice", address, techniques=DIRECT_TECHNIQUES, tracer=tracer
                ):
                    pytest.fail("there is a stream")
    attempts = tracer.attempts
    assert attempts == attempts_of(caught.value)
    assert {attempt.outcome for attempt in attempts if attempt.remote} == {Outcome.FORBIDDEN}
    assert {attempt.remote for attempt in attempts if attempt.remote} == {place}
    assert {endpoint.address for endpoint in system.dialled} == {ip_address(address[0])}


async def test_receiver_does_not_dial_what_is_said_to_be_a_sender() -> None:
    async def send_around(client: RawClient) -> None:
        await register_client(client)
        for number, place in enumerate(PLACES):
            nonce = bytes([number]) * NONCE_BYTES
            await client.send(
                SenderEndpoint(place, nonce, CERTIFICATE, offer=Offer(RANDOM), registration=0)
            )

    system = ListingSystem()
    with system_in_use(system):
        async with (
            open_fake_broker(send_around) as address,
            open_p2p_listener("a", address) as listener,
        ):
            await until(lambda: listener.statistics().forbidden == len(PLACES))
    assert {endpoint.address for endpoint in system.dialled} == {ip_address(address[0])}


async def test_probes_go_to_the_broker_only() -> None:
    async def name_probes(client: RawClient) -> None:
        await client.receive(Hello)
        await client.send(attrs.evolve(GREETING, probe_port=25, probes=tuple(PLACES)))

    with trio.fail_after(PATIENCE):
        async with (
            open_fake_broker(name_probes) as address,
            await finder_of(*address).find(()) as connection,
        ):
            await connection.receive_challenge()
            assert connection.probes == ()
            assert not (await survey_nat(connection.remote, connection.probes)).is_known


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_hairpinning_is_not_looked_for_elsewhere(place: Endpoint) -> None:
    async def see_client_elsewhere(client: RawClient) -> None:
        await client.receive(Hello)
        await client.send(attrs.evolve(GREETING, endpoint=place))

    system = ListingSystem()
    with trio.fail_after(PATIENCE), system_in_use(system):
        async with open_fake_broker(see_client_elsewhere) as (host, port):
            broker = Endpoint(ip_address(host), port)
            assert await is_hairpinning(broker) is None
    assert system.dialled == {broker}
