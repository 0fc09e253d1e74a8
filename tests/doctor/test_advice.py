"""What the doctor advises, and when there is nothing to change."""

from ipaddress import ip_address
from typing import Any

import attrs
import pytest

from trio_p2p._doctor.advice import advise
from trio_p2p._doctor.page import as_json, sections_of
from trio_p2p._nat.findings import IPv6Findings
from trio_p2p._wire.offer import Allocation, Nat

from ..kit.surveys import ADDRESS6, APDM, AT_HOME, BROKER6, EIM, mapped


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nat": Nat()}, "run it with --probe-port"),
        ({"nat": Nat(EIM, None, Allocation.RANDOM)}, "try again in a minute"),
        ({"reflexive": ip_address("172.17.0.1")}, "a proxy or a NAT stands before the broker"),
        ({"router": mapped()}, "Switch on PCP, NAT-PMP or UPnP"),
        ({"router": mapped("100.64.0.9")}, "another NAT behind it"),
        ({"router": mapped("203.0.113.2")}, "by another way than mapped ports"),
        ({}, "Switch on IPv6"),
        ({"ipv6": IPv6Findings(ADDRESS6)}, "but the broker has not"),
        ({"ipv6": IPv6Findings(ADDRESS6, BROKER6, False)}, "does not reach the broker"),
        ({"ipv6": IPv6Findings(ADDRESS6, BROKER6, True, APDM)}, "lets no unasked connection in"),
    ],
)
def test_advice(changes: dict[str, Any], said: str) -> None:
    survey = attrs.evolve(AT_HOME, **changes)
    assert sum(said in sentence for sentence in advise(survey)) == 1
    assert said in " ".join(sections_of(survey)[-1].text.split())
    assert as_json(survey)["advice"] == advise(survey)


def test_nothing_to_change() -> None:
    ipv6 = IPv6Findings(ADDRESS6, BROKER6, True, EIM)
    survey = attrs.evolve(AT_HOME, router=mapped("203.0.113.1"), ipv6=ipv6)
    assert advise(survey) == []
    assert "Nothing: it gets no better." in sections_of(survey)[-1].text


def test_broker_in_the_same_private_network_is_as_it_should_be() -> None:
    survey = attrs.evolve(AT_HOME, reflexive=AT_HOME.local)
    assert not any("before the broker" in sentence for sentence in advise(survey))
