"""What a router offers is told without leaving anything there."""

from ipaddress import IPv4Address

import pytest

from trio_p2p._portmap.attempts import MappingAttempt, MappingOutcome, MappingProtocol
from trio_p2p._portmap.router_report import ProtocolReport, report_on_router

from ..kit.fake_router import (
    EXTERNAL,
    UDP_PROTOCOLS,
    FakeRouter,
    hurried as hurried,
    no_answer,
    router as router,
    set_gateway,
)

PCP, NAT_PMP, UPNP = MappingProtocol


async def test_router_that_speaks_both(router: FakeRouter) -> None:
    reports = await report_on_router(UDP_PROTOCOLS)
    assert reports == [ProtocolReport(protocol, EXTERNAL) for protocol in UDP_PROTOCOLS]
    assert router.mappings == {}


async def test_router_behind_another_nat(router: FakeRouter) -> None:
    router.external = IPv4Address("10.0.0.2")
    [report] = await report_on_router([PCP])
    assert report.external_address == router.external


async def test_router_that_speaks_one(router: FakeRouter) -> None:
    router.speaks = (NAT_PMP,)
    version = MappingAttempt(PCP, MappingOutcome.UNSUPPORTED_VERSION)
    assert await report_on_router(UDP_PROTOCOLS) == [
        ProtocolReport(PCP, failure=version),
        ProtocolReport(NAT_PMP, EXTERNAL),
    ]


@pytest.mark.usefixtures("hurried")
async def test_silent_router_is_asked_in_all_protocols_at_once(router: FakeRouter) -> None:
    router.answer = no_answer
    reports = await report_on_router(UDP_PROTOCOLS)
    assert {version for version, *_ in router.requests[:2]} == {0, 2}
    assert [report.failure for report in reports] == [
        MappingAttempt(protocol, MappingOutcome.SILENT) for protocol in UDP_PROTOCOLS
    ]


async def test_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gateway(monkeypatch, None)
    [report] = await report_on_router([PCP])
    assert report == ProtocolReport(PCP, failure=MappingAttempt(PCP, MappingOutcome.NO_GATEWAY))
