"""The broker's log lines: dates, levels, JSON, and pseudonyms for clients."""

import json
import logging
import re
from collections.abc import Generator

import pytest

from trio_p2p import Endpoint, PeerId
from trio_p2p._addresses import endpoint_of
from trio_p2p._commands.broker_logs import begin_logging
from trio_p2p._net.log_limit import Private

logger = logging.getLogger("trio_p2p.test")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"


@pytest.fixture(autouse=True)
def _root_logger() -> Generator[None]:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield
    root.level, root.handlers = before


def said_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    logger.info("%s and %s", *arguments)
    return capsys.readouterr().err


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    begin_logging("info", "text", shows_peers=True)
    assert re.fullmatch(TIME + r" INFO 1 and 2\n", said_of(capsys, 1, 2))
    logger.debug("nothing")
    assert not capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    begin_logging("info", "json", shows_peers=True)
    line = json.loads(said_of(capsys, "é", 2))
    assert re.fullmatch(TIME, line.pop("time"))
    assert line == {"level": "info", "logger": "trio_p2p.test", "message": "é and 2"}


def test_traceback_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    begin_logging("info", "json", shows_peers=True)
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")
    line = json.loads(capsys.readouterr().err)
    assert "ValueError: why" in line["traceback"]


@pytest.mark.parametrize(
    "private",
    [endpoint_of(("192.0.2.1", 4433)), PeerId(bytes(23)), Private("alice")],
)
def test_pseudonyms(private: object, capsys: pytest.CaptureFixture[str]) -> None:
    begin_logging("info", "text", shows_peers=False)
    line = said_of(capsys, private, private)
    found = re.search(r"(~[0-9a-f]{8}) and (~[0-9a-f]{8})\n", line)
    assert found is not None
    assert found[1] == found[2]
    begin_logging("info", "text", shows_peers=True)
    assert str(private) in said_of(capsys, private, private)


def test_one_pseudonym_for_all_connections_of_an_address(
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin_logging("info", "text", shows_peers=False)
    endpoints = [Endpoint("192.0.2.1", port) for port in (1024, 1025)]
    first, second = re.findall("~[0-9a-f]{8}", said_of(capsys, *endpoints))
    assert first == second
    assert first not in said_of(capsys, Endpoint("192.0.2.2", 1024), 1)
