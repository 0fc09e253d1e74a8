"""The doctor, behind NATs of several kinds: what it prints stands in the documentation."""

import json
import re
import signal
from typing import Any

import pytest

from ..kit.commands import (
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    command,
    listen,
    open_false_broker,
    peer_id,
)
from ..kit.doctor_pages import FOLDER, NETWORKS, Ended, run_everywhere
from ..kit.lab import KernelNetwork, Nat as KernelNat, NatKind, UserspaceNetwork, popen
from ..kit.probed_broker import probed_broker
from ..kit.surveys import APDM, EIM

pytestmark = [pytest.mark.once, pytest.mark.slow]


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
        argv = command("trio-p2p", "doctor", "--json", "--broker", str(broker.endpoint))
        with popen(site.host, *argv) as process:
            output, _ = process.communicate(timeout=60)
    report = json.loads(output)
    assert report["firewall_without_nat"] is True
    assert (report["layers"], report["filtering"]) == (0, APDM)


def test_nobody_there(userspace_network: UserspaceNetwork) -> None:
    site = userspace_network.add_host()
    argv = command("trio-p2p", "doctor", "--broker", f"{site.host_address}:9")
    with popen(site.host, *argv) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(f"trio-p2p: no broker answers at {site.host_address}:9")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "trio-p2p: where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER"),
        (["--broker=nonsense:"], "argument --broker: 'nonsense:' is no broker: give HOST:PORT"),
    ],
)
def test_no_broker_was_named(arguments: list[str], said: str) -> None:
    argv = ["env", "-u", "TRIO_P2P_BROKER", *command("trio-p2p", "doctor", *arguments)]
    with Tool(*argv) as tool:
        code, output, errors = tool.end()
    assert (code, output) == (2, b"")
    assert said in errors.splitlines()[-1]


def test_several_brokers(broker: BrokerTool) -> None:
    """Also those that do not answer: their sentence stands in the place of their page."""
    brokers = f"{NOBODY},{broker.address}"
    with Tool(*command("trio-p2p", "doctor", "--broker", brokers)) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    said, page = output.decode().split("\n\n", 1)
    assert said.startswith(f"The broker at {NOBODY}: no broker answers at {NOBODY} ")
    assert page.startswith(f"This network, as the broker at {broker.address} sees it\n")
    with Tool(*command("trio-p2p", "doctor", "--json", "--broker", brokers)) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert [each["broker"] for each in report["brokers"]] == [broker.address]
    assert report["peer"] is None


def test_a_real_peer(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid):
        argv = command("trio-p2p", "doctor", uid)
        with Tool(*argv, broker=broker.address) as tool:
            code, output, errors = tool.end()
        with Tool(*argv, "--json", "--no-relay", broker=broker.address) as tool:
            report = json.loads(tool.end()[1])
    assert (code, errors) == (0, "")
    page, _, section = output.decode().partition(f"\nThe peer {uid!r}\n\n")
    assert page.startswith("This network, ")
    who, direct, relay = section.splitlines()
    assert who == f"  peer id  {peer_id()}"
    assert re.fullmatch(r"  direct   direct \(\w+\), to 127\.0\.0\.1:\d+, in [\d.]+ ms", direct)
    assert re.fullmatch(rf"  relay    relay, by {broker.address}, in [\d.]+ ms", relay)
    assert report["peer"]["direct"]["path"] == "direct"
    assert "lead to no relay path" in report["peer"]["relay"]["failure"]


def test_a_peer_that_is_not_there(broker: BrokerTool, uid: str) -> None:
    with Tool(*command("trio-p2p", "doctor", uid), broker=broker.address) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    _, direct, relay = output.decode().rpartition("\nThe peer ")[2].rstrip().rsplit("\n", 2)
    assert direct.startswith(f"  direct  no: no receiver is registered under {uid!r}")
    assert relay.startswith(f"  relay   no: no receiver is registered under {uid!r}")


def test_interrupt() -> None:
    with (
        open_false_broker(hangs_up=False) as (address, asked),
        Tool(*command("trio-p2p", "doctor", "--broker", address)) as tool,
    ):
        assert asked.wait(SECONDS)
        assert tool.signal(signal.SIGINT) == (130, b"", "")
