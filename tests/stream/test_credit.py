"""Credit: how much may be under way before it is read, and that no memory is promised twice."""

import pytest
from hypothesis import given, settings, strategies as st

from trio_p2p._stream.credit import (
    ALIGNED_BYTES,
    DEFAULT_MEMORY,
    DEFAULT_STREAMS,
    EARLY_STREAMS,
    EARLY_TOLD_SHARE,
    FIRST_CREDIT,
    MAX_STREAMS,
    SHARED_FIRST_CREDIT,
    TOLD_SHARE,
    Allowance,
    Budget,
    first_credit,
    reserved_memory,
)

LARGEST = 8 * FIRST_CREDIT


def test_the_first_streams_get_the_same_and_many_share() -> None:
    alike = SHARED_FIRST_CREDIT // FIRST_CREDIT
    assert {first_credit(others) for others in range(alike)} == {FIRST_CREDIT}
    assert first_credit(alike) < FIRST_CREDIT
    assert first_credit(MAX_STREAMS - 1) > 0


@given(st.integers(1, 5_000))
def test_what_is_reserved_covers_the_first_credits(streams: int) -> None:
    total = sum(map(first_credit, range(streams)))
    assert total <= reserved_memory(streams) <= total + FIRST_CREDIT + streams


@given(st.lists(st.integers(0, 100), max_size=200))
def test_what_is_reserved_covers_them_in_whatever_order_streams_come_and_go(
    steps: list[int],
) -> None:
    open_credits: list[int] = []
    for step in steps:
        if step < 60:
            open_credits.append(first_credit(len(open_credits)))
        elif open_credits:
            del open_credits[step % len(open_credits)]
        assert sum(open_credits) <= reserved_memory(len(open_credits))


def test_the_defaults_leave_much_to_grow_by() -> None:
    assert EARLY_STREAMS <= DEFAULT_STREAMS <= MAX_STREAMS
    rest = DEFAULT_MEMORY - reserved_memory(DEFAULT_STREAMS)
    assert rest // 2 >= 24 * 2**20


# Budgets.


def test_half_of_a_budget_is_set_aside_for_own_streams() -> None:
    budget = Budget(100)
    assert not budget.claim(51)
    assert budget.claim(50)
    assert not budget.claim(1)
    budget.begin(50)
    assert not budget.claim(1)
    budget.release(0, 10)
    assert budget.claim(10)


def test_own_streams_beyond_their_half_take_from_what_others_may_grow_by() -> None:
    budget = Budget(100)
    budget.begin(90)
    assert not budget.claim(11)
    assert budget.claim(10)
    budget.begin(1000)  # as many as the application wants to
    budget.release(0, 10)
    assert not budget.claim(1)
    budget.release(1000, 0)
    assert budget.claim(10)


# Allowances.


def receive_all(allowance: Allowance) -> int:
    """Let as many bytes come as may; how many have come then."""
    allowance.came(allowance.given)
    return allowance.given


def test_no_credit_is_told_before_it_is_worth_a_frame() -> None:
    allowance, budget = Allowance(1000, is_own=False), Budget(0)
    allowance.came(900)
    assert not allowance.read(int(1000 * TOLD_SHARE) - 1, 100, LARGEST, budget)
    assert allowance.given == 1000
    assert allowance.read(800, 100, LARGEST, budget)
    assert allowance.given == 1800 // 128 * 128


def test_credit_is_told_early_if_that_costs_no_frame_of_its_own() -> None:
    allowance, budget = Allowance(1024, is_own=False), Budget(0)
    allowance.came(1000)
    early = int(1024 * EARLY_TOLD_SHARE)
    assert not allowance.read(early - 1, 0, LARGEST, budget)
    assert not allowance.has_early(early - 1)
    assert not allowance.renew_early(early - 1)
    assert not allowance.read(early, 0, LARGEST, budget)
    assert allowance.has_early(early)
    assert allowance.renew_early(early)
    assert allowance.given == 1024 + early
    assert not allowance.has_early(early)


@pytest.mark.parametrize("pieces", [1, 4, 8])
def test_credit_cuts_no_large_piece_in_two(pieces: int) -> None:
    allowance, budget = Allowance(pieces * ALIGNED_BYTES, is_own=False), Budget(0)
    for position in range(0, pieces * ALIGNED_BYTES, 10_000):
        allowance.came(position)
        allowance.read(position, 0, LARGEST, budget)
        assert allowance.given % (ALIGNED_BYTES if pieces >= 4 else ALIGNED_BYTES // 4) == 0
    assert allowance.given > pieces * ALIGNED_BYTES


def test_a_window_grows_if_it_was_used_up_and_is_read() -> None:
    allowance, budget = Allowance(1024, is_own=False), Budget(2 * 7 * 1024)
    for window in (2048, 4096, 8192):
        received = receive_all(allowance)
        assert allowance.read(received, 0, 8192, budget)
        assert allowance.window == window
        assert received + window * TOLD_SHARE < allowance.given <= received + window
    received = receive_all(allowance)
    assert allowance.read(received, 0, 8192, budget)
    assert allowance.window == 8192
    allowance.end(budget)
    assert budget.claim(7 * 1024)


def test_a_window_grows_if_its_sender_waits_for_credit_that_is_on_its_way() -> None:
    allowance, budget = Allowance(1000, is_own=False), Budget(2 * 7000)
    assert allowance.read(800, 0, LARGEST, budget)
    allowance.came(1000)  # all that the sender knows of, as the path is long
    allowance.read(1000, 0, LARGEST, budget)
    assert allowance.window == 2000


def test_a_window_grows_no_further_than_it_may() -> None:
    allowance = Allowance(1000, is_own=False)
    received = receive_all(allowance)
    allowance.read(received, 0, 1500, Budget(10_000))
    assert allowance.window == 1500


@pytest.mark.parametrize(
    ("received", "held", "memory"),
    [(999, 0, 10_000), (1000, 251, 10_000), (1000, 0, 1998)],
    ids=["not used up", "not read", "no memory"],
)
def test_a_window_does_not_grow_without_need_or_memory(
    received: int, held: int, memory: int
) -> None:
    allowance = Allowance(1000, is_own=False)
    allowance.came(received)
    allowance.read(received - held, held, LARGEST, Budget(memory))
    assert allowance.window == 1000


def test_a_window_that_was_used_up_grows_as_soon_as_the_reader_has_caught_up() -> None:
    allowance, budget = Allowance(1000, is_own=False), Budget(10_000)
    allowance.came(1000)
    allowance.read(600, 400, LARGEST, budget)
    assert allowance.window == 1000
    allowance.read(750, 250, LARGEST, budget)
    assert allowance.window == 2000


@pytest.mark.parametrize("is_own", [True, False])
def test_an_end_gives_back_what_is_the_budgets_once(*, is_own: bool) -> None:
    budget = Budget(10_000)
    allowance = Allowance(1000, is_own=is_own)
    if is_own:
        budget.begin(1000)
    allowance.read(receive_all(allowance), 0, LARGEST, budget)
    assert allowance.window == 2000
    for _ in range(2):
        allowance.end(budget)
        assert not budget.claim(5001)
        assert budget.claim(5000)
        budget.release(0, 5000)


@settings(max_examples=200)
@given(
    st.integers(1, 5000),
    st.integers(0, 20_000),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=40),
)
def test_never_more_is_under_way_and_unread_than_the_window_and_reading_all_gives_credit(
    window: int, memory: int, steps: list[tuple[int, int]]
) -> None:
    allowance, budget = Allowance(window, is_own=False), Budget(memory)
    received = position = 0
    for come, read in steps:
        received = min(received + come, allowance.given)
        allowance.came(received)
        position = min(position + read, received)
        before = allowance.given
        assert allowance.read(position, received - position, LARGEST, budget) == (
            allowance.given > before
        )
        assert allowance.given - position <= allowance.window
    allowance.read(received, 0, LARGEST, budget)
    assert allowance.given > received
