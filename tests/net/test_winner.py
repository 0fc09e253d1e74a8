"""The first resource wins, and no other one stays open."""

import pytest

from trio_p2p._net.winner import Winner


class Resource:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_first_one_wins_and_the_rest_is_closed() -> None:
    first, *others = resources = [Resource() for _ in range(3)]
    with Winner(Resource.close) as winner:
        assert [winner.offer(resource) for resource in resources] == [True, False, False]
    assert winner.found is first
    assert first.closed == 0
    assert [other.closed for other in others] == [1, 1]


def test_winner_of_a_block_that_fails_is_closed() -> None:
    first = Resource()
    winner = Winner(Resource.close)
    winner.offer(first)
    with pytest.raises(KeyError), winner:
        raise KeyError
    assert first.closed == 1


def test_there_may_be_no_winner() -> None:
    winner = Winner(Resource.close)
    with pytest.raises(KeyError), winner:
        raise KeyError
    assert winner.found is None
