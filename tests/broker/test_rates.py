"""Token buckets, of one connection and of sources."""

from hypothesis import given, strategies as st

from trio_p2p._broker.rates import PROOF_COST, Rate, SourceRates, cost_of
from trio_p2p._wire.messages import KeepAlive

from ..kit.raw_client import registration


def test_bucket_gives_what_it_has_at_once_and_then_its_rate() -> None:
    rates = SourceRates(Rate(10, burst_time=2))
    assert [rates.spend("a", 1, 100.0) for _ in range(20)] == [0.0] * 20
    assert round(rates.spend("a", 1, 100.0), 6) == 0.1
    assert round(rates.pause("a", 100.05), 6) == 0.05
    assert rates.pause("a", 101.0) == 0.0
    assert rates.spend("b", 20, 100.0) == 0.0
    assert rates.pause("never seen", 100.0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), max_size=60))
def test_no_more_than_the_rate_passes(steps: list[tuple[float, int]]) -> None:
    rate, now, taken = Rate(10, burst_time=2), 50.0, 0
    paid_until = 0.0
    for pause, count in steps:
        now += pause
        paid_until = rate.spend(paid_until, count, now)
        now = max(now, paid_until)
        taken += count
        assert taken <= 10 * (now - 50.0 + 2) + 1e-6


def test_so_many_sources_are_remembered_the_latest_first() -> None:
    rates = SourceRates(Rate(1, burst_time=1), total=2)
    for source in "abab":
        rates.spend(source, 2, 100.0)
    rates.spend("c", 1, 100.0)
    assert len(rates) == 2
    assert rates.pause("a", 100.0) == 0.0  # forgotten
    assert rates.pause("b", 100.0) == 3.0


def test_registrations_cost_more_than_other_messages() -> None:
    assert cost_of(KeepAlive()) == 1
    assert cost_of(registration("alice", b"challenge")) == PROOF_COST > 1
