"""To open a stream enters few folders of the package, and calls nothing back."""

import trio

from benchmarks.call_path import MAX_ENTERED, MAX_UPWARD, follow_second_stream

from .kit.loopback import PATIENCE


async def test_a_call_enters_few_folders_and_none_above() -> None:
    with trio.fail_after(PATIENCE):
        path = await follow_second_stream()
    assert path.own
    assert path.by_tasks
    assert len(path.own) <= MAX_ENTERED, [*map(str, path.own)]
    upward = [str(call) for call in [*path.own, *path.by_tasks] if call.is_upward]
    assert len(upward) <= MAX_UPWARD, upward
