"""Fixtures for tests of the shell tools."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..kit.commands import BrokerTool, open_broker


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerTool]:
    with open_broker() as tool:
        yield tool


@pytest.fixture(autouse=True)
def configuration(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the tools of this test keep what they remember: the directory is made if need be."""
    home = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home / "trio_p2p"


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", request.node.name)


@pytest.fixture
def started_by_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/trio-p2p"])
    monkeypatch.delenv("TRIO_P2P_BROKER", raising=False)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tools keep their files during this test; it does not exist yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "trio_p2p"
