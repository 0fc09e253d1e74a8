"""To open a stream enters few folders of the package, and calls nothing back."""

import pytest
import trio

from benchmarks.call_path import MAX_ENTERED, MAX_UPWARD, follow_second_stream

from .kit.loopback import PATIENCE


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_call_enters_few_folders_and_none_above(is_connected: bool) -> None:
    with trio.fail_after(PATIENCE):
        path = await follow_second_stream(is_connected=is_connected)
    assert path.own
    assert bool(path.by_tasks) is not is_connected
    assert len(path.own) <= MAX_ENTERED, [*map(str, path.own)]
    upward = [str(call) for call in [*path.own, *path.by_tasks] if call.is_upward]
    assert len(upward) <= MAX_UPWARD, upward
