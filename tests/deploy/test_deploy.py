"""The files to run a broker with, as far as they can be checked without what they are for."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from trio_p2p._commands import broker as broker_command
from trio_p2p._commands.broker_settings import BrokerSettings
from trio_p2p._commands.settings import settings_of
from trio_p2p._commands.systemd import FOR_PROBES

from ..commands.status.apps import Site
from .shipped import (
    DEPLOY,
    SECONDS,
    check_image_runs,
    read_compose,
    read_image,
    running,
    unit_command,
    values_of,
)

UNITS = sorted(DEPLOY.glob("*.service")) + sorted(DEPLOY.glob("*.socket"))
MOST_EXPOSED = 20  # of 100; a unit without any such settings is at 96
# What Prometheus adds itself, and what names no metric in a query.
SYNTHETIC = {"up"}
METRIC = re.compile(r"\b(?:trio_p2p_broker|process)_\w+|\bup\b")


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def queries() -> list[str]:
    """All that the dashboard and the alerts ask for."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in load("alerts.yaml")["groups"] for rule in group["rules"]]
    asked += [each["query"] for each in dashboard["templating"]["list"]]
    return asked


async def test_queries_ask_for_metrics_that_there_are() -> None:
    text = Site().app._metrics.render().decode()
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | SYNTHETIC
    there |= {f"{name}_bucket" for name in there}
    asked = {name for query in queries() for name in METRIC.findall(query)}
    asked -= {"trio_p2p_broker"}
    assert len(asked) > 10
    assert asked <= there


def test_brackets_of_queries_match() -> None:
    for query in queries():
        for opening, closing in ("()", "[]", "{}"):
            assert query.count(opening) == query.count(closing), query


def test_alerts_have_what_prometheus_wants() -> None:
    [group] = load("alerts.yaml")["groups"]
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["summary"]
    promtool = shutil.which("promtool")
    if promtool is not None:
        checked = [promtool, "check", "rules", str(DEPLOY / "alerts.yaml")]
        subprocess.run(checked, check=True, capture_output=True)


def test_panels_do_not_overlap() -> None:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    taken = {
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }
    assert len(taken) == sum(place["w"] * place["h"] for place in places)
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_compose_file_is_one() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    check = [sys.executable, "-m", "check_jsonschema", *schema, str(DEPLOY / "compose.yaml")]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_compose_file_runs_the_broker() -> None:
    service = read_compose()
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    prefix = broker_command.PREFIX
    for variable in service["environment"]:
        name = variable.removeprefix(prefix).lower().replace("_", "-")
        assert name in settings_of(BrokerSettings), variable
    grace = float(service["environment"][f"{prefix}DRAIN_GRACE"])
    assert float(service["stop_grace_period"].removesuffix("s")) > grace + 5


def test_image_is_made_of_what_there_is() -> None:
    for each in read_image():
        if each.cmd == "COPY" and not each.flags:
            for name in each.value[:-1]:
                assert (DEPLOY.parent / name).exists(), name
    assert {base for base, *_ in values_of("FROM")} == {"debian:trixie-slim"}
    assert values_of("USER") == [("broker",)]
    assert values_of("EXPOSE") == [("4433", "4434")]


@pytest.mark.once
@pytest.mark.usefixtures("_namespaces")
def test_image_runs() -> None:
    """With this environment in the place of its own, which ``nox -s package`` makes."""
    check_image_runs(Path(sys.prefix))


@pytest.mark.once
@pytest.mark.usefixtures("_namespaces")
def test_service_runs(tmp_path: Path) -> None:
    news = tmp_path / "notify"
    environment = Path(sys.prefix)
    start, reload = (unit_command(name, environment) for name in ("ExecStart", "ExecReload"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, ExitStack() as stack:
        sock.bind(str(news))
        sock.settimeout(SECONDS)
        broker = stack.enter_context(running(start, {"NOTIFY_SOCKET": str(news)}))
        assert sock.recv(100) == b"READY=1"
        assert broker.run([each.replace("$MAINPID", str(broker.pid)) for each in reload]) == 0
        assert sock.recv(100).startswith(b"RELOADING=1\n")
        assert sock.recv(100) == b"READY=1"
        assert broker.end(signal.SIGTERM) == 0
        assert sock.recv(100) == b"STOPPING=1"


def test_settings_file_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    config = DEPLOY / "broker.toml"
    assert broker_command.main(["--config", str(config), "--check-config"]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["status"] == "127.0.0.1:9433"


def test_units_agree_with_the_broker() -> None:
    service = (DEPLOY / "trio-p2p-broker.service").read_text("utf-8")
    assert "Type=notify\n" in service
    [stop] = re.findall(r"^TimeoutStopSec=(\d+)$", service, re.MULTILINE)
    settings = tomllib.loads((DEPLOY / "broker.toml").read_text("utf-8"))
    assert int(stop) > settings["drain-grace"] + 5
    probes = (DEPLOY / "trio-p2p-broker-probes.socket").read_text("utf-8")
    assert f"FileDescriptorName={FOR_PROBES}\n" in probes


@pytest.mark.once
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    program = tmp_path / "trio-p2p-broker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units: list[str] = []
    for unit in UNITS:
        copy = tmp_path / unit.name
        text = unit.read_text("utf-8").replace("/opt/trio-p2p/bin/trio-p2p-broker", str(program))
        copy.write_text(text)
        units.append(str(copy))
    verified = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in verified.stderr.splitlines() if "trio-p2p" in line]
    assert (verified.returncode, ours) == (0, [])


@pytest.mark.once
def test_systemd_finds_the_service_little_exposed() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    unit = DEPLOY / "trio-p2p-broker.service"
    options = ("--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager")
    looked = [analyze, "security", *options, str(unit)]
    found = subprocess.run(looked, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Overall exposure level for trio-p2p-broker.service" in found.stdout
