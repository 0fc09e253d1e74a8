"""Finding the routers between a host and the internet, in the NAT lab."""

from ipaddress import IPv4Address

import pytest

from trio_p2p._addresses import Endpoint
from trio_p2p._lab.networks import INTERNET
from trio_p2p._nat import probe
from trio_p2p._nat.behaviour import guard_hops
from trio_p2p._nat.probe import near_hops

from ..kit.lab import Answer, Host, KernelNetwork, Nat, NatKind, Network, run
from ..kit.loopback import PATIENCE

PORT = 4433  # where nobody listens; who is there answers with RST


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a router takes longer to answer."""
    monkeypatch.setattr(probe, "HOP_TIME", PATIENCE)


def endpoint_of(host: Host) -> Endpoint:
    return Endpoint(host.host_address, PORT)


@pytest.mark.parametrize("answer", Answer)
def test_behind_a_nat(network: Network, answer: Answer) -> None:
    host, site = network.add_host(), network.add_site(Nat(answer=answer))
    hops = run(site.host, near_hops, endpoint_of(host))
    assert hops == [site.host_address - 1, INTERNET]
    assert guard_hops(hops, site.public_address) == 2


def test_behind_a_firewall(kernel_network: KernelNetwork) -> None:
    host, site = kernel_network.add_host(), kernel_network.add_site(Nat(NatKind.PUBLIC))
    hops = run(site.host, near_hops, endpoint_of(host))
    assert len(hops) == 1  # its router has a public address
    assert guard_hops(hops, site.public_address) == 2


def test_on_the_internet(kernel_network: KernelNetwork) -> None:
    host, other = kernel_network.add_host(), kernel_network.add_host()
    assert run(host.host, near_hops, endpoint_of(other)) == [INTERNET]


def test_without_a_router_in_between(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_host()
    for address in (IPv4Address("127.0.0.1"), host.host_address, INTERNET):
        assert run(host.host, near_hops, Endpoint(address, PORT)) == []


def test_without_a_route(kernel_network: KernelNetwork) -> None:
    host = kernel_network.add_host()
    host.host.ip("route del default")
    assert run(host.host, near_hops, Endpoint(IPv4Address("192.0.2.99"), PORT)) == []


_SILENCE = """
table ip silence {
    chain output {
        type filter hook output priority filter
        meta l4proto icmp drop
    }
}
"""


@pytest.mark.slow
def test_silent_router(kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "HOP_TIME", 2.0)  # the next one is not silent
    host, site = kernel_network.add_host(), kernel_network.add_site(Nat())
    site.router.command("nft", "-f", "-", stdin=_SILENCE)
    hops = run(site.host, near_hops, endpoint_of(host))
    assert hops == [None, INTERNET]
    assert guard_hops(hops, site.public_address) == 2


def test_all_routers_silent(kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "HOP_TIME", 0.1)
    host, site = kernel_network.add_host(), kernel_network.add_site(Nat())
    # The internet's own router cannot be silenced from here: let nothing of it through.
    site.router.command("nft", "-f", "-", stdin=_SILENCE)
    site.router.command(
        "nft", "insert", "rule", "ip", "router", "forward", "meta", "l4proto", "icmp", "drop"
    )
    assert run(site.host, near_hops, endpoint_of(host)) == []
