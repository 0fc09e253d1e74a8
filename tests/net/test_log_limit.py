"""Repeated log lines: the first at once, then one for each interval, with a count."""

import logging

import pytest

from trio_p2p._net.log_limit import INTERVAL, RepeatedLine

logger = logging.getLogger("trio_p2p.test")


def test_line_is_said_once_in_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    line = RepeatedLine(logger, logging.WARNING)
    for tenth in range(10 * int(INTERVAL) + 1):
        line.say(tenth / 10, "%s knocks", "a client")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "a client knocks"),
        ("WARNING", "a client knocks (and 599 more times since this was last said)"),
    ]


def test_count_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    line = RepeatedLine(logger, logging.WARNING, interval=1.0)
    for now in (0.0, 0.5, 2.0, 4.0):
        line.say(now, "it rains")
    assert [record.getMessage() for record in caplog.records] == [
        "it rains",
        "it rains (and 1 more times since this was last said)",
        "it rains",
    ]


def test_lines_of_different_kinds_do_not_silence_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = RepeatedLine(logger, logging.WARNING), RepeatedLine(logger, logging.WARNING)
    one.say(0.0, "one")
    other.say(0.0, "other")
    assert [record.getMessage() for record in caplog.records] == ["one", "other"]
