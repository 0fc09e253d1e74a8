"""To open a stream enters few folders of the package, and calls nothing back."""

import pytest
import trio

from benchmarks.call_path import MAX_ENTERED, MAX_UPWARD, Way, follow_stream

from .kit.loopback import PATIENCE


@pytest.mark.parametrize("way", Way)
async def test_a_call_enters_few_folders_and_none_above(way: Way) -> None:
    with trio.fail_after(PATIENCE):
        path = await follow_stream(way)
    assert path.own
    assert bool(path.by_tasks) is (way is not Way.SECOND_STREAM)
    if way in (Way.SECOND_STREAM, Way.SECOND_CONNECTION):
        assert len(path.own) <= MAX_ENTERED, [*map(str, path.own)]
    upward = [str(call) for call in [*path.own, *path.by_tasks] if call.is_upward]
    assert len(upward) <= MAX_UPWARD, upward
