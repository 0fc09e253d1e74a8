"""Full surveys over loopback, where there is no NAT: what they find, and when they end."""

import errno
from ipaddress import IPv4Address, IPv6Address

import attrs
import pytest
import trio

from trio_p2p import BrokerUnreachableError, Endpoint
from trio_p2p._addresses import endpoint_of
from trio_p2p._nat import network_survey
from trio_p2p._nat.findings import IPv6Findings, RouterOffer
from trio_p2p._nat.network_survey import survey_network
from trio_p2p._wire.offer import Behaviour

from ..kit.loopback import HOST, held, nobody_listening, until
from ..kit.loopback_probes import ANOTHER_ADDRESS, open_probed_broker
from ..kit.surveys import NO_NAT

HERE = IPv4Address(HOST)
ADDRESS6 = IPv6Address("2001:db8:1::2")


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
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        found = await survey_network([broker.endpoint])
    assert (found.broker, found.local, found.reflexive) == (broker.endpoint, HERE, HERE)
    assert found.nat == NO_NAT
    assert (found.layers, found.is_firewalled, found.hairpins) == (0, False, None)
    assert found.router == ()
    assert held() == before


@pytest.mark.usefixtures("router")
async def test_full_survey_with_a_broker_without_probes() -> None:
    async with open_probed_broker(ANOTHER_ADDRESS, has_probes=False) as broker:
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
    async with (
        open_probed_broker(ANOTHER_ADDRESS) as broker,
        open_probed_broker(ANOTHER_ADDRESS, host="::1") as over_ipv6,
    ):
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
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        assert (await survey_network([broker.endpoint])).ipv6 == IPv6Findings()


async def test_full_survey_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def report() -> list[RouterOffer]:
        return await trio.sleep_forever()

    monkeypatch.setattr(network_survey, "report_on_router", report)
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
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
    async with open_probed_broker(ANOTHER_ADDRESS) as broker:
        assert (await survey_network([broker.endpoint])).router is None
