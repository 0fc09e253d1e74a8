"""One line for each step, which fits the screen."""

import logging
from ipaddress import IPv4Address

import pytest

from trio_p2p import Attempt, Endpoint, Outcome, Technique
from trio_p2p._commands.narration import WIDTH, Narrator
from trio_p2p._wire.messages import Hello, KeepAlive, Kill

THERE = Endpoint(IPv4Address("203.0.113.200"), 60385)
CONNECTED = Attempt(Technique.FAST, THERE, THERE, Outcome.CONNECTED, 0.5)
SILENT = Attempt(Technique.FAST, THERE, THERE, Outcome.SILENT, 0.5)


def record_of(area: str, text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(f"trio_p2p.{area}", logging.DEBUG, "", 0, text, arguments, None)


def test_a_step_is_told_once() -> None:
    narrator = Narrator()
    quits = record_of("broker", "%s, from %s: %s", Kill.step, THERE, Kill())
    line = "     1.5 ms  broker    initiation 4: the receiver quits"
    assert narrator.line_of(quits, 1.5) == line
    assert narrator.line_of(quits, 2.5) is None


def test_a_long_line_is_cut() -> None:
    dialling = record_of(
        "sender", "step 12: dialling %s, and accepting", ", ".join([str(THERE)] * 9)
    )
    line = Narrator().line_of(dialling, 1.5)
    assert line is not None
    assert len(line) == WIDTH
    assert line.startswith(f"     1.5 ms  sender    step 12: dialling {THERE}, ")
    assert line.endswith("…")


def test_the_attempt_that_has_connected_is_told_by_the_sender() -> None:
    narrator = Narrator()
    assert narrator.line_of(record_of("receiver", "%s", CONNECTED), 1.5) is None
    assert narrator.line_of(record_of("sender", "%s", SILENT), 1.5) is None
    line = f"     1.5 ms  sender    connected (fast) to {THERE}"
    assert narrator.line_of(record_of("sender", "%s", CONNECTED), 1.5) == line


@pytest.mark.parametrize(
    "record",
    [
        record_of("broker", "%s, from %s: %s", Hello.step, THERE, Hello()),
        record_of("broker", "%s, from %s: %s", KeepAlive.step, THERE, KeepAlive()),
        record_of("nat", "NAT behaviour: %s", "none"),
        record_of("receiver", "introduction to %r failed: %s", "demo", "an error"),
    ],
    ids=lambda record: record.getMessage()[:20],
)
def test_what_is_no_step_is_left_out(record: logging.LogRecord) -> None:
    assert Narrator().line_of(record, 1.5) is None
