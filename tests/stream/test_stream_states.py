"""The tables of how the directions of a stream end."""

import pytest

from trio_p2p._stream.stream_states import RECEIVING, SENDING, Direction, StreamEvent

LAST_OF_SENDING = {Direction.CUT}
LAST_OF_RECEIVING = {Direction.ENDED, Direction.CUT}


@pytest.mark.parametrize("table", [SENDING, RECEIVING], ids=["sending", "receiving"])
def test_every_state_that_a_table_leads_to_is_reached_from_the_first(
    table: dict[tuple[Direction, StreamEvent], Direction],
) -> None:
    reached, before = {Direction.OPEN}, set[Direction]()
    while reached != before:
        before = set(reached)
        reached |= {after for (state, _), after in table.items() if state in reached}
    assert reached == {state for state, _ in table} | set(table.values())


def test_each_direction_can_be_cut_until_it_is_over() -> None:
    for table, last in ((SENDING, LAST_OF_SENDING), (RECEIVING, LAST_OF_RECEIVING)):
        states = {state for state, _ in table} | set(table.values())
        cut = {state for state in states - last if table[state, StreamEvent.RESET] is Direction.CUT}
        assert cut == states - last


def test_what_was_received_to_its_end_stays_so() -> None:
    after = {to for (state, _), to in RECEIVING.items() if state is Direction.ENDED}
    assert after == {Direction.ENDED}


def test_an_end_leaves_once_and_only_when_the_direction_is_finished() -> None:
    leaving = [state for state, event in SENDING if event is StreamEvent.END_SENT]
    assert leaving == [Direction.ENDING]
    assert SENDING[Direction.ENDING, StreamEvent.END_SENT] is Direction.ENDED
    for state, event in SENDING:
        if SENDING[state, event] is Direction.ENDING and state is not Direction.ENDING:
            assert event is StreamEvent.FINISH


def test_a_table_knows_only_its_own_events() -> None:
    assert {event for _, event in SENDING} == set(StreamEvent) - {StreamEvent.END_CAME}
    assert {event for _, event in RECEIVING} == {
        StreamEvent.END_CAME,
        StreamEvent.STOP,
        StreamEvent.RESET,
    }
