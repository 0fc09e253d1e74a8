"""When routers are asked again: no trio, no clock, no socket."""

from collections.abc import Iterator
from itertools import islice, pairwise

import pytest
from hypothesis import given, strategies as st

from trio_p2p._portmap import timers as mapping_timers
from trio_p2p._portmap.timers import (
    MAX_RECOVERY_DELAY,
    MAX_RETRY_PAUSE,
    MIN_RENEWAL_PAUSE,
    NAT_PMP_MAX_DURATION,
    PCP_MAX_DURATION,
    Epoch,
    Lease,
    nat_pmp_waits,
    pcp_waits,
    retry_pauses,
)

FRACTIONS = st.floats(0, 1)


def low() -> float:
    return 0.0


def high() -> float:
    return 1.0


def test_pcp_asks_twice() -> None:
    assert list(pcp_waits(low)) == pytest.approx([2.7, 1.3])
    assert list(pcp_waits(high)) == pytest.approx([3.3, 0.7])


def test_pcp_intervals_are_the_rfcs_if_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_timers, "PCP_MAX_DURATION", 1e9)
    waits = list(islice(pcp_waits(lambda: 0.5), 12))
    assert waits == [3, 6, 12, 24, 48, 96, 192, 384, 768, 1024, 1024, 1024]


@given(st.lists(FRACTIONS, min_size=2, max_size=2))
def test_pcp_takes_no_longer_than_it_may(fractions: list[float]) -> None:
    draws: Iterator[float] = iter([*fractions, 0.5])
    assert sum(pcp_waits(lambda: next(draws))) == pytest.approx(PCP_MAX_DURATION)


def test_nat_pmp_doubles_its_intervals() -> None:
    waits = list(nat_pmp_waits())
    assert waits == [0.25, 0.5, 1.0, 0.25]
    assert sum(waits) == NAT_PMP_MAX_DURATION


def test_retries_become_rare() -> None:
    pauses = list(islice(retry_pauses(lambda: 0.5), 20))
    assert pauses[0] == MIN_RENEWAL_PAUSE
    assert all(later == min(2 * earlier, MAX_RETRY_PAUSE) for earlier, later in pairwise(pauses))
    assert pauses[-1] == MAX_RETRY_PAUSE


@pytest.mark.parametrize(
    ("random", "renewals"), [(low, [500, 750, 875, 937.5]), (high, [625, 859.375, 947.265625])]
)
def test_lease_is_renewed_at_half_life_and_half_of_what_is_left(
    random: mapping_timers.Random, renewals: list[float]
) -> None:
    lease = Lease.begin(0.0, 1000.0, random)
    for renewal in renewals:
        assert lease.renew_at == renewal
        assert not lease.is_over(renewal)
        lease.renewal_failed(renewal)


@given(FRACTIONS, st.floats(0, 1e9), st.floats(0, 1e6))
def test_renewals_of_a_lease_have_their_distance(
    fraction: float, lifetime: float, now: float
) -> None:
    lease = Lease.begin(now, lifetime, lambda: fraction)
    while not lease.is_over(now):
        assert lease.renew_at >= now + MIN_RENEWAL_PAUSE
        now = lease.renew_at
        lease.renewal_failed(now)
    assert now >= lease.expires_at


def test_lease_that_the_router_forgot_is_renewed_soon() -> None:
    lease = Lease.begin(0.0, 1000.0, high)
    lease.router_forgot(100.0)
    assert lease.renew_at == 100.0 + MAX_RECOVERY_DELAY
    lease.router_forgot(104.0)
    assert lease.renew_at == 100.0 + MAX_RECOVERY_DELAY  # not put off by more announcements


def test_forged_announcements_do_not_make_us_ask_all_the_time() -> None:
    lease = Lease.begin(0.0, 1000.0, low)
    lease.router_forgot(1.0)
    assert lease.renew_at == MIN_RENEWAL_PAUSE


@pytest.mark.parametrize(
    ("seconds", "at", "is_continued"),
    [
        (100, 1000.0, True),
        (99, 1000.0, True),  # packets may overtake each other
        (98, 1000.0, False),
        (200, 1100.0, True),
        (0, 1000.5, False),
        (196, 1100.0, True),  # a slow clock
        (190, 1100.0, False),  # it began anew, long ago
        (208, 1100.0, True),  # a fast clock
        (209, 1100.0, False),
        (300, 1100.0, False),
        (102, 1000.0, True),
        (103, 1000.0, False),
    ],
)
def test_epoch(seconds: int, at: float, *, is_continued: bool) -> None:
    known = Epoch(100, 1000.0)
    assert known.is_continued_by(Epoch(seconds, at)) is is_continued


def test_epoch_that_began_anew_shows_only_after_some_seconds() -> None:
    known = Epoch(0, 0.0)
    assert known.is_continued_by(Epoch(0, 2.0))
    assert not known.is_continued_by(Epoch(0, 3.0))


@given(st.integers(0, 2**32 - 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_epoch_of_a_router_that_keeps_time_is_continued(
    seconds: int, seen_at: float, passed: float
) -> None:
    later = Epoch(seconds + int(passed), seen_at + passed)
    assert Epoch(seconds, seen_at).is_continued_by(later)
