"""What follows from a survey: where the NATs are, and how many."""

from ipaddress import ip_address
from typing import Any

import attrs
import pytest

from trio_p2p._nat.findings import StationKind, nats_on_the_way

from ..kit.surveys import AT_HOME, EIM, HOME, LOCAL


def addresses(*texts: str) -> list[Any]:
    return [ip_address(text) if text else None for text in texts]


@pytest.mark.parametrize(
    ("local", "hops", "expected"),
    [
        ("192.168.1.2", ["192.168.1.1", "198.51.100.1"], ["NAT 192.168.1.1"]),
        ("192.168.1.2", ["192.168.1.1"], ["NAT 192.168.1.1"]),
        ("192.168.1.2", [], ["NAT None"]),
        ("192.168.1.2", ["", "198.51.100.1"], ["NAT None"]),
        (
            "192.168.1.2",
            ["192.168.1.1", "100.64.0.1", "100.64.9.1", "198.51.100.1"],
            ["NAT 192.168.1.1", "router 100.64.0.1", "NAT 100.64.9.1"],
        ),
        (
            "192.168.1.2",
            ["192.168.1.1", "192.168.0.1", "198.51.100.1"],
            ["NAT 192.168.1.1", "NAT 192.168.0.1"],
        ),
        ("192.168.1.2", ["", "10.0.0.1", "198.51.100.1"], ["NAT None", "NAT 10.0.0.1"]),
        (
            "10.1.2.3",
            ["10.1.2.1", "10.9.0.1", "198.51.100.1"],
            ["router 10.1.2.1", "NAT 10.9.0.1"],
        ),
        ("fd00::2", ["fd00::1", "2001:db8::1"], ["NAT fd00::1"]),
    ],
)
def test_nats_on_the_way(local: str, hops: list[str], expected: list[str]) -> None:
    found = nats_on_the_way(ip_address(local), addresses(*hops))
    assert [f"{station.kind} {station.address}" for station in found] == expected


def test_layers_and_firewalls() -> None:
    public = attrs.evolve(AT_HOME, reflexive=LOCAL)
    open_host = attrs.evolve(public, nat=attrs.evolve(HOME, filtering=EIM))
    unknown = attrs.evolve(AT_HOME, reflexive=None)
    assert [survey.layers for survey in (AT_HOME, public, open_host, unknown)] == [1, 0, 0, None]
    assert [s.is_firewalled for s in (AT_HOME, public, open_host, unknown)] == [
        False,
        True,
        False,
        False,
    ]
    assert StationKind.FIREWALL in [station.kind for station in public.way]
