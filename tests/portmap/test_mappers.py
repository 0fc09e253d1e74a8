"""What asks a router in PCP and NAT-PMP, where nothing can be sent at all."""

from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p._addresses import Endpoint
from trio_p2p._portmap import port_mapping
from trio_p2p._portmap.attempts import MappingAttempt, MappingOutcome, PortMappingError
from trio_p2p._portmap.port_mapping import open_port_mapping
from trio_p2p._portmap.routers import Router
from trio_p2p._portmap.udp_exchange import tell_router

from ..kit.fake_router import PORT, UDP_PROTOCOLS
from ..kit.lab import KernelNetwork, Nat, run

PATIENCE = 60.0
LOST = Router(Endpoint(IPv4Address("8.8.8.8"), 5351), IPv4Address("192.168.1.2"))


def test_router_whose_route_has_gone(
    kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail_to_map() -> tuple[MappingAttempt, ...]:
        with trio.fail_after(PATIENCE), pytest.raises(PortMappingError) as caught:
            async with open_port_mapping(PORT, protocols=UDP_PROTOCOLS):
                pass
        return caught.value.attempts

    monkeypatch.setattr(port_mapping, "find_router", lambda: LOST)
    host = kernel_network.add_site(Nat()).host
    host.ip("route del default")
    attempts = run(host, fail_to_map)
    assert [attempt.protocol for attempt in attempts] == list(UDP_PROTOCOLS)
    for attempt in attempts:
        assert attempt.outcome is MappingOutcome.UNREACHABLE
        assert "unreachable" in attempt.detail


def test_what_need_not_arrive(
    kernel_network: KernelNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "trio_p2p.nat")
    host = kernel_network.add_site(Nat()).host
    host.ip("route del default")
    host.call(tell_router, LOST.server, b"never mind")
    assert "unreachable" in caplog.text
