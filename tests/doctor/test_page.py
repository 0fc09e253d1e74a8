"""The doctor, behind NATs of several kinds: what it prints stands in the documentation."""

import json
from ipaddress import ip_address
from typing import Any

import attrs
import pytest

from trio_p2p import Endpoint
from trio_p2p._doctor.advice import advise
from trio_p2p._doctor.page import as_json, render
from trio_p2p._doctor.prospects import PEERS, Prospect, prospect_of
from trio_p2p._nat.findings import IPv6Findings, RouterOffer, StationKind, Survey, nats_on_the_way
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

from ..kit.commands import Tool, command
from ..kit.doctor_pages import FOLDER, NETWORKS, Ended, run_everywhere
from ..kit.lab import KernelNetwork, Nat as KernelNat, NatKind, UserspaceNetwork, popen
from ..kit.probed_broker import probed_broker

EIM, ADM, APDM = Behaviour
BROKER = Endpoint(ip_address("198.51.100.10"), 4433)
BROKER6 = Endpoint(ip_address("2001:db8::10"), 4433)
LOCAL, REFLEXIVE = ip_address("192.168.1.2"), ip_address("203.0.113.1")
HOME = Nat(EIM, APDM, Allocation.PRESERVING)
RANDOM = Nat(APDM, APDM, Allocation.RANDOM)
AT_HOME = Survey(
    BROKER, LOCAL, REFLEXIVE, HOME, hops=(ip_address("192.168.1.1"), ip_address("198.51.100.1"))
)


def addresses(*texts: str) -> list[Any]:
    return [ip_address(text) if text else None for text in texts]


# What follows from the findings.


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


def mapped(*externals: str) -> tuple[RouterOffer, ...]:
    offers = (RouterOffer("PCP", ip_address(text)) for text in externals)
    return (*offers, RouterOffer("NAT-PMP", failure="the router did not answer"))


def test_mapped_port_is_worth_everything() -> None:
    survey = attrs.evolve(AT_HOME, nat=RANDOM, router=mapped("203.0.113.1"))
    assert {prospect_of(survey, peer) for peer in PEERS} == {Prospect.DIRECT}
    behind_another = attrs.evolve(survey, router=mapped("100.64.0.9"))
    assert Prospect.RELAYED in {prospect_of(behind_another, peer) for peer in PEERS}


ADDRESS6 = ip_address("2001:db8:1::2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nat": Nat()}, "run it with --probe-port"),
        ({"nat": Nat(EIM, None, Allocation.RANDOM)}, "try again in a minute"),
        ({"router": mapped()}, "Switch on PCP, NAT-PMP or UPnP"),
        ({"router": mapped("100.64.0.9")}, "another NAT behind it"),
        ({"router": mapped("203.0.113.2")}, "by another way than mapped ports"),
        ({}, "Switch on IPv6"),
        ({"ipv6": IPv6Findings(ADDRESS6)}, "but the broker has not"),
        ({"ipv6": IPv6Findings(ADDRESS6, BROKER6, False)}, "does not reach the broker"),
        ({"ipv6": IPv6Findings(ADDRESS6, BROKER6, True, APDM)}, "lets nobody in unasked"),
    ],
)
def test_advice(changes: dict[str, Any], said: str) -> None:
    survey = attrs.evolve(AT_HOME, **changes)
    assert sum(said in sentence for sentence in advise(survey)) == 1
    assert said in " ".join(render(survey).split())
    assert as_json(survey)["advice"] == advise(survey)


def test_nothing_to_change() -> None:
    ipv6 = IPv6Findings(ADDRESS6, BROKER6, True, EIM)
    survey = attrs.evolve(AT_HOME, router=mapped("203.0.113.1"), ipv6=ipv6)
    assert advise(survey) == []
    assert "Nothing: it gets no better." in render(survey)


def test_nothing_was_found_out() -> None:
    survey = Survey(BROKER)
    assert "not known" in render(survey)
    page = json.loads(json.dumps(as_json(survey)))
    assert (page["layers"], page["mapping"], page["port_mapping"]) == (None, None, None)


def test_page_is_narrow() -> None:
    for survey in (AT_HOME, attrs.evolve(AT_HOME, nat=RANDOM, router=mapped("100.64.0.9"))):
        assert max(map(len, render(survey).splitlines())) <= 100


# The command.


@pytest.fixture(scope="module")
def pages(_namespaces: None) -> dict[str, Ended]:
    return run_everywhere()


@pytest.fixture(scope="module")
def reports(_namespaces: None) -> dict[str, Any]:
    ended = run_everywhere("--json")
    assert {(code, errors) for code, _, errors in ended.values()} == {(0, "")}
    return {name: json.loads(output) for name, (_, output, _) in ended.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_page_is_that_of_the_documentation(pages: dict[str, Ended], name: str) -> None:
    code, output, errors = pages[name]
    assert (code, errors) == (0, "")
    # If it has changed on purpose: python -m tests.kit.doctor_pages
    assert output == (FOLDER / f"{name}.txt").read_text("utf-8")


def test_report(reports: dict[str, Any]) -> None:
    traits = {
        name: [report[trait] for trait in ("mapping", "filtering", "allocation", "step", "layers")]
        for name, report in reports.items()
    }
    assert traits == {
        "public": [EIM, EIM, "port-preserving", 0, 0],
        "eim-eif": [EIM, EIM, "port-preserving", 0, 1],
        "masquerade": [EIM, APDM, "port-preserving", 0, 1],
        "sequential": [APDM, APDM, "sequential", 1, 1],
        "random": [APDM, APDM, "random", 0, 1],
        "carrier": [APDM, APDM, "random", 0, 2],
    }
    for report in reports.values():
        assert report["broker"] == "198.51.100.10:4433"
        assert report["ipv6"]["address"] is None
        assert [offer["external"] for offer in report["port_mapping"]] == [None] * 3
        assert [station["station"] for station in report["way"]] == [
            "this host",
            *["NAT"] * report["layers"],
            "internet",
            "broker",
        ]


def test_firewall_without_a_nat(kernel_network: KernelNetwork) -> None:
    with probed_broker(kernel_network) as broker:
        site = kernel_network.add_site(KernelNat(NatKind.PUBLIC))
        argv = command("trio-p2p", "doctor", "--json", str(broker.endpoint))
        with popen(site.host, *argv) as process:
            output, _ = process.communicate(timeout=30)
    report = json.loads(output)
    assert report["firewall_without_nat"] is True
    assert (report["layers"], report["filtering"]) == (0, APDM)


def test_nobody_there(userspace_network: UserspaceNetwork) -> None:
    site = userspace_network.add_host()
    argv = command("trio-p2p", "doctor", f"{site.host_address}:9")
    with popen(site.host, *argv) as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(f"trio-p2p: no broker answers at {site.host_address}:9")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "trio-p2p: which broker? Name one as HOST:PORT, or set TRIO_P2P_BROKER"),
        (["nonsense"], "trio-p2p: 'nonsense' is no broker: give HOST:PORT"),
    ],
)
def test_no_broker_was_named(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["env", "-u", "TRIO_P2P_BROKER", *command("trio-p2p", "doctor", *arguments)]
    with Tool(*argv) as tool:
        code, output, errors = tool.end()
    assert (code, output) == (1, b"")
    assert errors.startswith(said)
