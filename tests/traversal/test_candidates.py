"""A peer's candidates: nothing is dialled but what leads to its own network, or to ours."""

from collections.abc import Iterable
from ipaddress import ip_address

import pytest
from hypothesis import example, given, strategies as st

from trio_p2p._addresses import Endpoint, IPAddress, is_public, is_special
from trio_p2p._traversal.candidates import (
    MAX_DIALLED,
    forbidden_untrusted,
    make_offer,
    vet_untrusted,
)
from trio_p2p._wire.offer import Candidate, CandidateKind, Nat

from ..kit.message_strategies import endpoints

OWN = Endpoint(ip_address("203.0.113.1"), 40_001)
PEER = Endpoint(ip_address("198.51.100.2"), 40_002)
NEIGHBOUR = Endpoint(ip_address("203.0.113.9"), 40_003)
BESIDE = Endpoint(OWN.address, 40_004)
LAN = Endpoint(ip_address("192.168.1.7"), 5000)
BROKER = ip_address("192.0.2.1")

candidates = st.builds(Candidate, st.sampled_from(CandidateKind), endpoints)


def candidate(text: str, kind: CandidateKind = CandidateKind.HOST, port: int = 5000) -> Candidate:
    return Candidate(kind, Endpoint(ip_address(text), port))


def vet(
    offered: Iterable[Candidate], own: Endpoint, peer: Endpoint, broker: IPAddress = BROKER
) -> tuple[Candidate, ...]:
    return vet_untrusted(offered, own, peer, broker)


def test_a_private_address_is_dialled_in_the_own_network_only() -> None:
    offered = [Candidate(CandidateKind.HOST, LAN)]
    assert vet(offered, OWN, PEER) == ()
    assert vet(offered, OWN, Endpoint(OWN.address, 7)) == tuple(offered)
    assert vet(offered, OWN, NEIGHBOUR) == ()  # another customer of the provider, say


def test_a_private_address_is_no_neighbours_because_the_broker_sees_one() -> None:
    offered = [Candidate(CandidateKind.HOST, LAN)]
    proxy = ip_address("172.17.0.1")
    assert vet(offered, Endpoint(proxy, 1), Endpoint(proxy, 2)) == ()


def test_one_ipv6_network_is_one_site() -> None:
    offered = [candidate("fd00::7")]
    own = Endpoint(ip_address("2001:db8:1:1::1"), 40_001)
    assert vet(offered, own, Endpoint(ip_address("2001:db8:1:1::2"), 7)) == tuple(offered)
    assert vet(offered, own, Endpoint(ip_address("2001:db8:1:2::1"), 7)) == ()


def test_a_port_mapping_is_dialled_where_the_peer_is() -> None:
    mapped = candidate("198.51.100.2", CandidateKind.MAPPED)
    assert vet([mapped], OWN, PEER) == (mapped,)
    assert vet([candidate("198.51.100.3", CandidateKind.MAPPED)], OWN, PEER) == ()


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.255.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.1.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "ff02::1",
        "fe80::1",
        "fec0::1",
        "::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:192.168.1.7",
        "64:ff9b::192.168.1.7",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001:0:7f00:1::1",
        "2002:c0a8:107::1",
    ],
)
@pytest.mark.parametrize("kind", CandidateKind)
def test_what_is_nobodys_address_is_never_dialled(text: str, kind: CandidateKind) -> None:
    assert is_special(ip_address(text))
    assert vet([candidate(text, kind)], OWN, NEIGHBOUR) == ()
    # Not even where the broker says that the peer is.
    peer = Endpoint(ip_address(text), 40_002)
    assert vet([candidate(text, kind)], peer, peer) == ()
    assert forbidden_untrusted([candidate(text, kind)], peer, BROKER)


def test_no_service_is_dialled() -> None:
    for service in (
        candidate("192.168.1.7", port=1023),
        candidate("203.0.113.9", CandidateKind.MAPPED, port=22),
    ):
        assert vet([service], OWN, NEIGHBOUR) == ()
        assert forbidden_untrusted([service], NEIGHBOUR, BROKER) == (service,)


@pytest.mark.parametrize("text", ["192.0.2.1", "192.168.1.1", "203.0.113.9"])
@pytest.mark.parametrize("kind", CandidateKind)
def test_nothing_is_dialled_at_the_broker(text: str, kind: CandidateKind) -> None:
    # On the internet, in the network of both peers, and where one of them is.
    at_broker = candidate(text, kind)
    assert vet([at_broker], OWN, NEIGHBOUR, ip_address(text)) == ()
    is_peers = at_broker.endpoint.address == NEIGHBOUR.address
    refused = forbidden_untrusted([at_broker], NEIGHBOUR, ip_address(text))
    assert refused == (() if is_peers else (at_broker,))


def test_what_honest_peers_name_is_not_forbidden() -> None:
    honest = [
        Candidate(CandidateKind.HOST, LAN),
        Candidate(CandidateKind.HOST, PEER),
        candidate("198.51.100.2", CandidateKind.MAPPED),
        candidate("100.64.1.2", CandidateKind.MAPPED),  # by a router behind a carrier's
        candidate("fd00::1"),
    ]
    assert forbidden_untrusted(honest, PEER, BROKER) == ()


def test_ten_thousand_candidates_are_few() -> None:
    many = [candidate("192.168.1.7", port=port) for port in range(2000, 12_000)]
    assert len(vet(many, OWN, BESIDE)) == MAX_DIALLED - 1
    assert len(vet(many[:1] * 10_000, OWN, BESIDE)) == 1
    twice = [candidate("192.168.1.7", kind) for kind in CandidateKind]
    assert len(vet(twice, OWN, BESIDE)) == 1


@given(st.lists(candidates), endpoints, endpoints)
@example([Candidate(CandidateKind.HOST, Endpoint(ip_address("8.8.8.8"), 5000))], OWN, BESIDE)
def test_no_third_party_is_ever_dialled(
    offered: list[Candidate], own: Endpoint, peer: Endpoint
) -> None:
    for each in vet(offered, own, peer):
        address = each.endpoint.address
        assert address == peer.address or not is_public(address)
        assert not is_special(address)
        assert address != BROKER
        assert each in offered
        assert each not in forbidden_untrusted(offered, peer, BROKER)


def test_the_local_endpoint_is_offered_unless_it_is_of_no_use_to_others() -> None:
    assert make_offer(Nat(), LAN).candidates == (Candidate(CandidateKind.HOST, LAN),)
    assert make_offer(Nat(), Endpoint(ip_address("127.0.0.1"), 5000)).candidates == ()
