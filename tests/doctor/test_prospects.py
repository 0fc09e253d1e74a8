"""How a host would be connected to peers behind each kind of NAT."""

import attrs
import pytest

from trio_p2p._doctor.prospects import PEERS, Prospect, prospect_of
from trio_p2p._wire.offer import Allocation, Nat

from ..kit.surveys import ADM, AT_HOME, EIM, HOME, RANDOM, mapped


@pytest.mark.parametrize(
    ("nat", "expected"),
    [
        (Nat(EIM, EIM, Allocation.PRESERVING), ["direct", "direct", "direct", "direct"]),
        (HOME, ["direct", "direct", "predicted", "guessed"]),
        (Nat(EIM, ADM, Allocation.RANDOM), ["direct", "direct", "direct", "direct"]),
        (RANDOM, ["direct", "guessed", "relayed", "relayed"]),
        (Nat(), ["unknown"] * 4),
    ],
)
def test_prospects(nat: Nat, expected: list[str]) -> None:
    survey = attrs.evolve(AT_HOME, nat=nat)
    assert [prospect_of(survey, peer).name.lower() for peer in PEERS] == expected


def test_mapped_port_is_worth_everything() -> None:
    survey = attrs.evolve(AT_HOME, nat=RANDOM, router=mapped("203.0.113.1"))
    assert {prospect_of(survey, peer) for peer in PEERS} == {Prospect.DIRECT}
    behind_another = attrs.evolve(survey, router=mapped("100.64.0.9"))
    assert Prospect.RELAYED in {prospect_of(behind_another, peer) for peer in PEERS}
