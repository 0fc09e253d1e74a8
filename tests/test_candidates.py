"""A peer's candidates: nothing is dialled but what leads to its own network, or to ours."""

from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st

from trio_p2p._endpoint import Endpoint
from trio_p2p._nat.behaviour import is_public
from trio_p2p._nat.candidates import MAX_DIALLED, is_special, make_offer, vet_untrusted
from trio_p2p._wire.offer import Candidate, CandidateKind, Nat

from .message_strategies import endpoints

OWN = Endpoint(ip_address("203.0.113.1"), 40_001)
PEER = Endpoint(ip_address("198.51.100.2"), 40_002)
NEIGHBOUR = Endpoint(ip_address("203.0.113.9"), 40_003)
LAN = Endpoint(ip_address("192.168.1.7"), 5000)

candidates = st.builds(Candidate, st.sampled_from(CandidateKind), endpoints)


def candidate(text: str, kind: CandidateKind = CandidateKind.HOST, port: int = 5000) -> Candidate:
    return Candidate(kind, Endpoint(ip_address(text), port))


def test_a_private_address_is_dialled_in_the_own_network_only() -> None:
    offered = [Candidate(CandidateKind.HOST, LAN)]
    assert vet_untrusted(offered, OWN, PEER) == ()
    assert vet_untrusted(offered, OWN, Endpoint(OWN.address, 7)) == tuple(offered)
    assert vet_untrusted(offered, OWN, NEIGHBOUR) == tuple(offered)


def test_a_port_mapping_is_dialled_where_the_peer_is() -> None:
    mapped = candidate("198.51.100.2", CandidateKind.MAPPED)
    assert vet_untrusted([mapped], OWN, PEER) == (mapped,)
    assert vet_untrusted([candidate("198.51.100.3", CandidateKind.MAPPED)], OWN, PEER) == ()


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "169.254.1.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "ff02::1",
        "fe80::1",
        "::",
    ],
)
@pytest.mark.parametrize("kind", CandidateKind)
def test_what_is_nobodys_address_is_never_dialled(text: str, kind: CandidateKind) -> None:
    assert is_special(ip_address(text))
    assert vet_untrusted([candidate(text, kind)], OWN, NEIGHBOUR) == ()


def test_no_service_is_dialled() -> None:
    assert vet_untrusted([candidate("192.168.1.7", port=22)], OWN, NEIGHBOUR) == ()


def test_ten_thousand_candidates_are_few() -> None:
    many = [candidate("192.168.1.7", port=port) for port in range(2000, 12_000)]
    assert len(vet_untrusted(many, OWN, NEIGHBOUR)) == MAX_DIALLED
    assert len(vet_untrusted(many[:1] * 10_000, OWN, NEIGHBOUR)) == 1


@given(st.lists(candidates), endpoints, endpoints)
def test_no_third_party_is_ever_dialled(
    offered: list[Candidate], own: Endpoint, peer: Endpoint
) -> None:
    for each in vet_untrusted(offered, own, peer):
        address = each.endpoint.address
        assert address == peer.address or not is_public(address)
        assert not is_special(address)
        assert each in offered


def test_the_local_endpoint_is_offered_unless_it_is_of_no_use_to_others() -> None:
    assert make_offer(Nat(), LAN).candidates == (Candidate(CandidateKind.HOST, LAN),)
    assert make_offer(Nat(), Endpoint(ip_address("127.0.0.1"), 5000)).candidates == ()
