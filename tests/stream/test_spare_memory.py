"""Memory for what is encrypted is used again."""

from trio_p2p._stream.spare_memory import MAX_SPARE, SpareMemory, spare_memory_of_this_run


def test_memory_that_is_large_enough_is_used_again() -> None:
    spare = SpareMemory()
    memory = spare.take(1000)
    assert len(memory) == 1000
    spare.give_back(memory)
    assert len(spare.take(1001)) == 1001
    assert spare.take(999) is memory
    assert spare.take(999) is not memory


def test_no_more_than_a_few_pieces_are_kept() -> None:
    spare = SpareMemory()
    pieces = [bytearray(10 + number) for number in range(MAX_SPARE + 1)]
    for piece in pieces:
        spare.give_back(piece)
    taken = [spare.take(1) for _ in pieces]
    assert taken[:-1] == pieces[:0:-1]
    assert len(taken[-1]) == 1


async def test_all_paths_of_a_run_share_it() -> None:
    assert spare_memory_of_this_run() is spare_memory_of_this_run()
