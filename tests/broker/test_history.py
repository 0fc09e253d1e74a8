"""The last half hour of a broker, step by step."""

import attrs

from trio_p2p import Technique
from trio_p2p._broker.counts import Counts
from trio_p2p._broker.figures import Figures
from trio_p2p._broker.history import MAX_STEPS, STEP, History
from trio_p2p._wire.messages import Report

FIGURES = Figures(
    receivers=3,
    connections=5,
    pending_introductions=0,
    circuits=1,
    relayed_bytes=100,
    is_draining=False,
)


def test_step_tells_what_was_done_since_the_one_before() -> None:
    counts = Counts()
    history = History(counts, 1000.0)
    counts.introduced(Technique.FAST)
    counts.introduced(Technique.RELAY)
    counts.reported(Report(1, Technique.FAST))
    counts.reported(Report(1))
    assert not history.note(FIGURES, 1000.0 + STEP - 1)
    assert history.note(FIGURES, 1000.0 + STEP)
    counts.introduced(Technique.CLASSIC)
    later = attrs.evolve(FIGURES, receivers=4, relayed_bytes=250)
    assert not history.note(later, 1000.0 + STEP + 1)
    assert history.note(later, 1000.0 + 2 * STEP)
    first, second = history.steps
    assert (first.introductions, first.direct, first.missed, first.relayed) == (
        2,
        {"fast": 1, "classic": 0},
        1,
        1,
    )
    assert (first.receivers, first.relayed_bytes) == (3, 100)
    assert (second.introductions, second.relayed_bytes, second.receivers) == (1, 150, 4)


def test_no_more_than_half_an_hour_is_kept() -> None:
    history = History(Counts(), 0.0)
    for index in range(MAX_STEPS + 20):
        history.note(FIGURES, (index + 1) * STEP)
    assert len(history.steps) == MAX_STEPS


def test_pause_does_not_make_many_steps() -> None:
    history = History(Counts(), 0.0)
    assert history.note(FIGURES, 1000 * STEP)
    assert not history.note(FIGURES, 1000 * STEP)
    assert not history.note(FIGURES, 1000 * STEP + 1)
    assert len(history.steps) == 1
