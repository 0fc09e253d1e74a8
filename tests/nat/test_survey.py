"""Surveys over loopback, where there is no NAT: what they need, what they hold, when they end."""

import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_p2p import BrokerUnreachableError, Endpoint, serve_broker
from trio_p2p._addresses import endpoint_of
from trio_p2p._broker import server
from trio_p2p._broker.callback_probes import call_back
from trio_p2p._broker.prober import CALLS_PER_WINDOW
from trio_p2p._nat import network_survey, survey, survey_cache
from trio_p2p._nat.findings import IPv6Findings, RouterOffer
from trio_p2p._nat.network_survey import survey_network
from trio_p2p._nat.survey import Sightings, survey_nat
from trio_p2p._nat.survey_cache import SurveyCache
from trio_p2p._wire.messages import CalledBack
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

from ..kit.loopback import HOST, PATIENCE, held, nobody_listening, until

ANOTHER_ADDRESS = IPv4Address("127.0.0.2")
HERE = IPv4Address(HOST)
ADDRESS6 = IPv6Address("2001:db8:1::2")
NO_NAT = Nat(Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ENDPOINT_INDEPENDENT, Allocation.PRESERVING)


@attrs.frozen
class Served:
    endpoint: Endpoint
    probes: tuple[Endpoint, ...]


@asynccontextmanager
async def open_probed_broker(
    *, host: str = HOST, has_probes: bool = True
) -> AsyncGenerator[Served]:
    serve = partial(
        serve_broker,
        0,
        host=host,
        probe_port=0 if has_probes else None,
        probe_at=[Endpoint(ANOTHER_ADDRESS, 9)],
    )
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(serve)
            endpoint, *probes = (endpoint_of(each.socket.getsockname()) for each in listeners)
            yield Served(endpoint, tuple(probes))
            nursery.cancel_scope.cancel(reason="the test is over")


# The cheap part.


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_no_nat(host: str) -> None:
    before = held()
    async with open_probed_broker(host=host) as broker:
        assert await survey_nat(broker.endpoint, broker.probes) == NO_NAT
    assert held() == before


async def test_number_and_order_of_connections() -> None:
    async with open_probed_broker() as broker:
        sightings = Sightings()
        await sightings.look(broker.endpoint, broker.probes)
        in_order = sorted(sightings.samples, key=lambda sample: sample.order)
        own = broker.endpoint
        assert [sample.remote for sample in in_order] == [own, *broker.probes, own, own]
        ports = [sample.local.port for sample in in_order]
        assert ports[0] == ports[1]
        assert len(set(ports)) == 3


async def test_broker_without_probes_is_left_alone() -> None:
    with nobody_listening() as address:
        assert await survey_nat(endpoint_of(address), ()) == Nat()


async def test_nobody_answers() -> None:
    before = held()
    with nobody_listening() as address:
        endpoint = endpoint_of(address)
        assert await survey_nat(endpoint, [endpoint]) == Nat()
    assert held() == before


async def test_what_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "SURVEY_TIME", 0.3)
    async with open_probed_broker() as broker:
        (silent,) = await trio.open_tcp_listeners(0, host=HOST)  # it accepts, but says nothing
        async with silent:
            sightings = Sightings()
            remote = endpoint_of(silent.socket.getsockname())
            await sightings.look(broker.endpoint, [remote])
    assert len(sightings.samples) == 3
    assert sightings.nat == NO_NAT


async def test_who_says_nonsense_is_missing() -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with open_probed_broker() as broker, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, babble, 0, host=HOST))
        remote = endpoint_of(listener.socket.getsockname())
        assert await survey_nat(broker.endpoint, [remote]) == NO_NAT
        assert await survey_nat(remote, [broker.endpoint]) == attrs.evolve(NO_NAT, filtering=None)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_broker_that_is_tired_of_calling() -> None:
    async with open_probed_broker() as broker:
        for _ in range(CALLS_PER_WINDOW):
            assert (await survey_nat(broker.endpoint, broker.probes)).filtering is not None
        assert await survey_nat(broker.endpoint, broker.probes) == attrs.evolve(
            NO_NAT, filtering=None
        )


async def test_cancelled_at_any_time_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call_slowly(*arguments: Any) -> CalledBack:
        await trio.sleep(0.01)
        return await call_back(*arguments)

    monkeypatch.setattr(server, "call_back", call_slowly)
    async with open_probed_broker() as broker:
        before = held()
        for milliseconds in range(0, 24, 2):
            with trio.move_on_after(milliseconds / 1000):
                await survey_nat(broker.endpoint, broker.probes)
        await until(lambda: held() == before)


# The full one.


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> None:
    """No packets to the router of whoever runs this test."""

    async def report() -> list[object]:
        await trio.lowlevel.checkpoint()
        return []

    monkeypatch.setattr(network_survey, "report_on_router", report)


@pytest.mark.usefixtures("router")
async def test_full_survey_without_a_nat() -> None:
    before = held()
    async with open_probed_broker() as broker:
        found = await survey_network([broker.endpoint])
    assert (found.broker, found.local, found.reflexive) == (broker.endpoint, HERE, HERE)
    assert found.nat == NO_NAT
    assert (found.layers, found.is_firewalled, found.hairpins) == (0, False, None)
    assert found.router == ()
    assert held() == before


@pytest.mark.usefixtures("router")
async def test_full_survey_with_a_broker_without_probes() -> None:
    async with open_probed_broker(has_probes=False) as broker:
        found = await survey_network([broker.endpoint])
    assert found.nat == attrs.evolve(NO_NAT, filtering=None)


@pytest.mark.usefixtures("router")
async def test_full_survey_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_survey, "CONNECT_TIME", 0.2)
    before = held()
    with nobody_listening() as address, pytest.raises(BrokerUnreachableError):
        await survey_network([endpoint_of(address)])
    (silent,) = await trio.open_tcp_listeners(0, host=HOST)
    async with silent:
        with pytest.raises(BrokerUnreachableError, match=r"within 0\.2 seconds"):
            await survey_network([endpoint_of(silent.socket.getsockname())])
    assert held() == before


@pytest.mark.usefixtures("router")
async def test_full_survey_of_a_host_with_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def local_address(_remote: Endpoint) -> IPv6Address:
        return ADDRESS6

    monkeypatch.setattr(network_survey, "local_address_towards", local_address)
    async with open_probed_broker() as broker, open_probed_broker(host="::1") as over_ipv6:
        found = await survey_network([broker.endpoint])
        assert found.ipv6 == IPv6Findings(ADDRESS6)
        found = await survey_network([broker.endpoint, over_ipv6.endpoint])
        assert found.broker == broker.endpoint
        assert found.ipv6 == IPv6Findings(
            ADDRESS6, over_ipv6.endpoint, True, Behaviour.ENDPOINT_INDEPENDENT
        )
        with nobody_listening() as (_, port):
            nobody = Endpoint(IPv6Address("::1"), port)
            found = await survey_network([broker.endpoint, nobody])
        assert found.ipv6 == IPv6Findings(ADDRESS6, nobody, is_reached=False)


@pytest.mark.usefixtures("router")
async def test_full_survey_of_a_host_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def local_address(_remote: Endpoint) -> IPv6Address:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(network_survey, "local_address_towards", local_address)
    async with open_probed_broker() as broker:
        assert (await survey_network([broker.endpoint])).ipv6 == IPv6Findings()


async def test_full_survey_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def report() -> list[RouterOffer]:
        return await trio.sleep_forever()

    monkeypatch.setattr(network_survey, "report_on_router", report)
    async with open_probed_broker() as broker:
        before = held()
        for milliseconds in range(0, 30, 3):
            with trio.move_on_after(milliseconds / 1000):
                await survey_network([broker.endpoint])
        await until(lambda: held() == before)


async def test_router_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def report() -> list[RouterOffer]:
        return await trio.sleep_forever()

    monkeypatch.setattr(network_survey, "report_on_router", report)
    monkeypatch.setattr(network_survey, "ROUTER_TIME", 0.05)
    async with open_probed_broker() as broker:
        assert (await survey_network([broker.endpoint])).router is None


# What is remembered.


class Counted:
    """Stands for a survey; finds something else each time."""

    def __init__(self) -> None:
        self.count = 0

    async def survey_nat(self, *_arguments: object, asks_filtering: bool) -> Nat:
        await trio.sleep(1)
        self.count += 1
        filtering = Behaviour.ADDRESS_DEPENDENT if asks_filtering else None
        return Nat(Behaviour.ADDRESS_DEPENDENT, filtering, step=self.count)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(survey_cache, "survey_nat", counted.survey_nat)
    return counted


BROKER = Endpoint(IPv4Address("198.51.100.10"), 4433)


async def ask(
    cache: SurveyCache,
    local: str = "192.168.1.2",
    seen: str = "203.0.113.1",
    *,
    asks_filtering: bool = True,
) -> int:
    nat = await cache.nat(
        BROKER,
        (),
        local=IPv4Address(local),
        reflexive=IPv4Address(seen),
        asks_filtering=asks_filtering,
    )
    return nat.step


async def test_each_network_is_surveyed_once(counted: Counted, autojump_clock: MockClock) -> None:
    cache = SurveyCache()
    assert [await ask(cache) for _ in range(3)] == [1, 1, 1]
    assert await ask(cache, local="192.168.1.3") == 2
    assert await ask(cache, seen="203.0.113.2") == 3
    assert await ask(cache) == 1
    await trio.sleep(survey_cache.LIFETIME)
    assert await ask(cache) == 4


async def test_filtering_is_found_out_when_somebody_asks(
    counted: Counted, autojump_clock: MockClock
) -> None:
    cache = SurveyCache()
    assert [await ask(cache, asks_filtering=False) for _ in range(2)] == [1, 1]
    assert [await ask(cache) for _ in range(2)] == [2, 2]
    assert await ask(cache, asks_filtering=False) == 2


async def test_who_asks_meanwhile_waits(counted: Counted, autojump_clock: MockClock) -> None:
    cache = SurveyCache()
    answers: list[int] = []

    async def note() -> None:
        answers.append(await ask(cache))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(note)
        with trio.move_on_after(0.5):  # whoever began gives up; another one takes over
            await ask(cache)
    assert answers == [1] * 5


async def test_so_many_networks_are_remembered(counted: Counted, autojump_clock: MockClock) -> None:
    cache = SurveyCache()
    for number in range(survey_cache.MAX_NETWORKS + 1):
        await ask(cache, local=f"192.168.1.{number}")
    assert await ask(cache, local="192.168.1.1") == 2
    assert await ask(cache, local="192.168.1.0") == survey_cache.MAX_NETWORKS + 2


async def test_nothing_found_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SurveyCache()
    with nobody_listening() as address:
        endpoint = endpoint_of(address)
        for _ in range(2):
            nat = await cache.nat(endpoint, [endpoint], local=HERE, reflexive=HERE)
            assert nat == Nat()
    async with open_probed_broker() as broker:
        nat = await cache.nat(broker.endpoint, broker.probes, local=HERE, reflexive=HERE)
        assert nat == NO_NAT
