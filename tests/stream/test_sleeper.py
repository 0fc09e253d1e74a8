"""One task waits, and is waked up once, whatever else happens to it."""

import pytest
import trio
import trio.testing

from trio_p2p._stream.sleeper import Sleeper


async def sleep(sleeper: Sleeper, waked: list[str]) -> None:
    await sleeper.sleep()
    waked.append("waked")


async def test_waking_wakes_the_one_that_sleeps(autojump_clock: trio.testing.MockClock) -> None:
    sleeper = Sleeper()
    waked: list[str] = []
    sleeper.wake()  # none is there, and none that comes later is waked by it
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, sleeper, waked)
        await trio.testing.wait_all_tasks_blocked()
        assert sleeper
        sleeper.wake()
        sleeper.wake()
        assert not sleeper
    assert waked == ["waked"]


async def test_it_can_be_used_again_when_its_task_was_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sleeper = Sleeper()
    waked: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, sleeper, waked)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
    assert not sleeper
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, sleeper, waked)
        await trio.testing.wait_all_tasks_blocked()
        sleeper.wake()
    assert waked == ["waked"]


@pytest.mark.parametrize("is_cancelled_first", [True, False])
async def test_being_cancelled_and_waked_at_once_is_one_of_both(
    autojump_clock: trio.testing.MockClock, *, is_cancelled_first: bool
) -> None:
    sleeper = Sleeper()
    waked: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, sleeper, waked)
        await trio.testing.wait_all_tasks_blocked()
        if is_cancelled_first:
            nursery.cancel_scope.cancel()
            sleeper.wake()
        else:
            sleeper.wake()
            nursery.cancel_scope.cancel()
    assert waked == ([] if is_cancelled_first else ["waked"])
