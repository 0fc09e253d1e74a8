"""How the process does."""

import trio
from trio.testing import MockClock

from trio_p2p._commands.status.health import DELAY_INTERVAL, DELAYS, HealthWatch


def test_process_is_looked_at() -> None:
    health = HealthWatch().look()
    assert health.cpu_seconds > 0
    assert health.memory > 1_000_000
    assert 0 < health.descriptors <= health.max_descriptors


async def test_late_event_loop_shows_for_a_while(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    watch = HealthWatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await trio.sleep(1)
        assert watch.look().loop_delay == 0
        mock_clock.jump(3)  # like a task that has not yielded for so long
        await trio.sleep(0.01)
        assert watch.look().loop_delay > 2
        await trio.sleep(DELAYS * DELAY_INTERVAL + 1)
        assert watch.look().loop_delay == 0
        nursery.cancel_scope.cancel(reason="the test is over")
