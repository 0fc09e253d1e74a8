"""What is logged of events that come in floods."""

import logging

import pytest

from trio_p2p._net.log_limit import LimitedLog


def test_event_is_said_once_in_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = LimitedLog(logging.getLogger("trio_p2p.test"), 60.0)
    for second in range(150):
        log.log(logging.WARNING, "%r was flooded", "uid", now=float(second))
    assert caplog.messages == [
        "'uid' was flooded",
        "'uid' was flooded (and 59 more before)",
        "'uid' was flooded (and 59 more before)",
    ]


def test_each_text_counts_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = LimitedLog(logging.getLogger("trio_p2p.test"), 60.0)
    log.log(logging.INFO, "one", now=0.0)
    log.log(logging.INFO, "another", now=1.0)
    assert caplog.messages == ["one", "another"]
