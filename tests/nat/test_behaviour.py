"""What measurements say about NATs."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, strategies as st

from trio_p2p._addresses import IPAddress, is_public
from trio_p2p._nat.behaviour import DEFAULT_GUARD_HOPS, guard_hops

REFLEXIVE = IPv4Address("203.0.113.7")

addresses = st.ip_addresses()
routes = st.lists(st.none() | addresses, max_size=8)


def hops(*texts: str) -> list[IPAddress | None]:
    return [ip_address(text) if text else None for text in texts]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (hops(), DEFAULT_GUARD_HOPS),  # nothing could be learned
        (hops("192.168.1.1", "198.51.100.1"), 2),  # at home
        (hops("192.168.1.1", "10.0.0.1", "198.51.100.1"), 3),  # behind two NATs
        (hops("192.168.1.1", "100.64.0.1", "100.64.9.9", "8.8.8.8"), 4),  # behind a carrier's
        (hops("192.168.1.1", "", "198.51.100.1"), 3),  # one is silent
        (hops("", "198.51.100.1"), 2),
        (hops("198.51.100.1"), 2),  # no NAT, but perhaps a firewall
        (hops("198.51.100.1", "8.8.8.8"), 2),
        (hops("192.168.1.1", "203.0.113.1", "8.8.8.8"), 2),  # the NAT's own network
        (hops("192.168.1.1", "10.0.0.1"), 2),  # no more is known
        (hops("192.168.1.1", "10.0.0.1", "", "", ""), 5),
    ],
)
def test_guard_hops(route: list[IPAddress | None], expected: int) -> None:
    assert guard_hops(route, REFLEXIVE) == expected


def test_broker_in_our_own_network() -> None:
    # Whose address for us is the private one: there is no NAT that its side is beyond.
    assert guard_hops(hops("192.168.1.1", "192.168.2.1"), IPv4Address("192.168.1.2")) == 2


def test_neighbours_in_ipv6() -> None:
    route = hops("fd00::1", "2001:db8:0:1::1")
    assert guard_hops(route, IPv6Address("2001:db8:0:1::2")) == 2


@given(routes, addresses)
def test_guard_passes_one_hop_and_ends_where_the_route_is_known_to(
    route: list[IPAddress | None], reflexive: IPAddress
) -> None:
    hops = guard_hops(route, reflexive)
    assert 2 <= hops <= max(len(route), 2) or (not route and hops == DEFAULT_GUARD_HOPS)


@given(routes, addresses)
def test_guard_never_goes_past_a_public_router(
    route: list[IPAddress | None], reflexive: IPAddress
) -> None:
    hops = guard_hops(route, reflexive)
    # From the second hop on, which it always reaches.
    assert not any(hop is not None and is_public(hop) for hop in route[1 : hops - 1])
