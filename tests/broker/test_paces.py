"""How a rate is kept, and which rates circuits share."""

import pytest
from hypothesis import given, strategies as st

from trio_p2p._broker.paces import BURST_TIME, Pace, SharedPaces
from trio_p2p._broker.parties import Party


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=50),
)
def test_rate_is_kept_whatever_is_said_when(rate: int, said: list[tuple[float, float]]) -> None:
    pace = Pace(rate)
    now, total = 100.0, 0
    for silence, share in said:
        now += silence
        count = max(1, int(pace.piece * share))
        total += count
        now += pace.spend(count, now)
        most = (now - 100 + BURST_TIME) * rate
        assert total <= most * 1.000001 + 1


def test_who_does_not_pause_for_long_has_all_of_the_rate() -> None:
    pace = Pace(1000)
    now = 0.0
    for _ in range(100):
        now += pace.spend(pace.piece, now)
    assert now == pytest.approx((100 * pace.piece) / 1000 - BURST_TIME)


def test_slowest_rate_carries_a_byte_at_a_time() -> None:
    pace = Pace(1)
    assert pace.piece == 1
    assert pace.spend(1, 0.0) == pytest.approx(1 - BURST_TIME)


# Shared ones.


def test_paces_are_shared_as_long_as_they_are_in_use() -> None:
    paces = SharedPaces()
    paces.set_rates(None, 1000)
    one, other = Party(b"net!", b"key"), Party(b"net!")
    of_one, of_other = paces.of(one), paces.of(other)
    assert of_one[:1] == of_other
    assert len(of_one) == 2
    assert paces.of(Party(b"elsewhere", b"key"))[1] is of_one[1]
    assert len(paces._paces) == 2
    del of_one
    assert set(paces._paces) == {b"net!"}
    del of_other
    assert not paces._paces


def test_paces_change_with_their_rates() -> None:
    paces = SharedPaces()
    party = Party(b"net!")
    assert paces.of(party) == ()
    paces.set_rates(5000, 1000)
    assert [pace.piece for pace in paces.of(party)] == [500, 100]
    paces.set_rates(2000, None)
    assert [pace.piece for pace in paces.of(party)] == [200]
