"""One line for each step, which fits the screen."""

import logging
from ipaddress import IPv4Address

import pytest

from trio_p2p import Endpoint, PathKind, StreamPath, Technique
from trio_p2p._commands.narration import WIDTH, Narrator
from trio_p2p._wire.messages import Hello, IntroductionRequest, KeepAlive, Kill, StreamKind

THERE = Endpoint(IPv4Address("203.0.113.200"), 60385)


def record_of(area: str, text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(f"trio_p2p.{area}", logging.DEBUG, "", 0, text, arguments, None)


def test_a_step_is_told_once() -> None:
    narrator = Narrator()
    quits = record_of("broker", "%s, from %s: %s", Kill.step, THERE, Kill())
    line = "     1.5 ms  receiver  quits"
    assert narrator.line_of(quits, 1.5) == line
    assert narrator.line_of(quits, 2.5) is None


def test_a_long_line_is_cut() -> None:
    uid = "x" * 99
    asks = IntroductionRequest(0, uid, Technique.FAST, StreamKind.SESSION, b"")
    line = Narrator().line_of(record_of("broker", "%s: %s %s", "step 1", THERE, asks), 1.5)
    assert line is not None
    assert len(line) == WIDTH
    assert line.startswith("     1.5 ms  sender    asks for 'xxx")
    assert line.endswith("…")


def test_each_kind_of_path_is_told_once() -> None:
    narrator = Narrator()
    for kind, technique, text in (
        (PathKind.RELAY, Technique.RELAY, "both are connected by the relay"),
        (PathKind.DIRECT, Technique.FAST, "the path is direct"),
    ):
        record = record_of("stream", "%s", StreamPath(kind, technique, THERE, THERE))
        assert narrator.line_of(record, 1.5) == f"     1.5 ms  stream    {text} ({THERE})"
        assert narrator.line_of(record, 2.5) is None


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
