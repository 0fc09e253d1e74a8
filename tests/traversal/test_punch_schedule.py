"""When the next SYN of a punch is sent, and how far it goes."""

from functools import partial

import pytest
from hypothesis import given, strategies as st

from trio_p2p._attempt import Outcome
from trio_p2p._traversal.punch_schedule import (
    MAX_PAUSE,
    MIN_HOLD,
    PATIENCE_GROWTH,
    RETRANSMISSION_TIME,
    UNMEASURED_ROUND_TRIP,
    PunchSchedule,
)

FAILURES = [outcome for outcome in Outcome if outcome is not Outcome.CONNECTED]
ANSWERED = [Outcome.REFUSED, Outcome.UNREACHABLE]

round_trips = st.floats(0, 60)
fractions = st.floats(0, 1)
histories = st.lists(st.sampled_from(FAILURES), max_size=30)


def half() -> float:
    return 0.5


@given(round_trips)
def test_sender_dials_again_after_about_a_round_trip(round_trip: float) -> None:
    schedule = PunchSchedule.dial(round_trip, half)
    expected = round_trip or UNMEASURED_ROUND_TRIP
    assert expected < schedule.patience < 1.5 * expected + 0.1
    assert schedule.pause == 0
    assert schedule.hops is None


def test_first_syn_can_be_delayed() -> None:
    schedule = PunchSchedule.dial(0.1, half, delay=0.03)
    assert schedule.pause == 0.03
    schedule.failed(Outcome.SILENT)
    assert schedule.pause == 0


@given(st.integers(1, 64), round_trips)
def test_receiver_holds_until_the_sender_had_time_to_be_told_and_to_dial(
    hops: int, round_trip: float
) -> None:
    schedule = PunchSchedule.hold(hops, round_trip, half)
    assert schedule.patience >= max(2 * round_trip, MIN_HOLD)
    assert schedule.pause == 0
    assert schedule.hops == hops


@given(round_trips, histories, fractions)
def test_senders_syns_go_all_the_way(
    round_trip: float, history: list[Outcome], fraction: float
) -> None:
    schedule = PunchSchedule.dial(round_trip, lambda: fraction)
    for outcome in history:
        schedule.failed(outcome)
        assert schedule.hops is None


@given(st.integers(1, 64), round_trips, histories, fractions)
def test_guard_lives_one_hop_at_least_and_changes_by_one_hop_at_most(
    hops: int, round_trip: float, history: list[Outcome], fraction: float
) -> None:
    schedule = PunchSchedule.hold(hops, round_trip, lambda: fraction)
    for outcome in history:
        before = schedule.hops
        schedule.failed(outcome)
        assert before is not None
        assert schedule.hops is not None
        assert schedule.hops >= 1
        assert abs(schedule.hops - before) <= 1


@given(st.integers(1, 64), round_trips, histories, fractions)
def test_patience_grows_with_silence_only_and_pauses_are_bounded(
    hops: int, round_trip: float, history: list[Outcome], fraction: float
) -> None:
    for schedule in (
        PunchSchedule.hold(hops, round_trip, lambda: fraction),
        PunchSchedule.dial(round_trip, lambda: fraction),
    ):
        for outcome in history:
            before = schedule.patience
            schedule.failed(outcome)
            growth = PATIENCE_GROWTH if outcome is Outcome.SILENT else 1
            assert schedule.patience == pytest.approx(growth * before)
            assert 0 <= schedule.pause <= 1.5 * MAX_PAUSE


def test_pauses_grow_while_the_peer_refuses_at_once() -> None:
    schedule = PunchSchedule.dial(0.1, half)
    pauses: list[float] = []
    for _ in range(20):
        schedule.failed(Outcome.REFUSED)
        pauses.append(schedule.pause)
    assert pauses[0] < schedule.patience
    assert pauses == sorted(pauses)
    assert sum(pauses) > 10


def test_silence_is_answered_without_a_pause() -> None:
    for schedule in (PunchSchedule.dial(0.1, half), PunchSchedule.hold(3, 0.1, half)):
        schedule.failed(Outcome.REFUSED)
        schedule.failed(Outcome.SILENT)
        assert schedule.pause == 0


def test_lost_syn_is_repeated_before_the_guard_goes_further() -> None:
    schedule = PunchSchedule.hold(3, 0.1, half)
    hops = []
    for _ in range(4):
        schedule.failed(Outcome.SILENT)
        hops.append(schedule.hops)
    assert hops == [3, 4, 4, 5]


def test_where_firewalls_know_a_syn_it_is_held_until_it_comes_again() -> None:
    for make in (partial(PunchSchedule.dial, 0.1), partial(PunchSchedule.hold, 3, 0.1)):
        usual, longer = make(half), make(half, is_resent=True)
        assert longer.patience == usual.patience + RETRANSMISSION_TIME
        longer.failed(Outcome.REFUSED)
        usual.failed(Outcome.REFUSED)
        assert longer.pause == usual.pause


@pytest.mark.parametrize("answer", ANSWERED)
def test_guard_that_went_too_far_goes_less_far_at_once(answer: Outcome) -> None:
    schedule = PunchSchedule.hold(3, 0.1, half)
    hops, pauses = [], []
    for _ in range(3):
        schedule.failed(answer)
        hops.append(schedule.hops)
        pauses.append(schedule.pause > 0)
    assert hops == [2, 1, 1]
    assert pauses == [False, False, True]


@pytest.mark.parametrize("outcome", [*ANSWERED, Outcome.TAKEN, Outcome.WRONG_PEER])
def test_sender_pauses_after_an_answer(outcome: Outcome) -> None:
    shortest, longest = PunchSchedule.dial(0.1, lambda: 0.0), PunchSchedule.dial(0.1, lambda: 1.0)
    for schedule in (shortest, longest):
        schedule.failed(outcome)
    assert 0 < shortest.pause < longest.pause < longest.patience
