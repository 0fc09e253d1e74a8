"""Pauses grow until something has worked, and stay short while something waits."""

import subprocess
import sys

import pytest
import trio
import trio.testing

from trio_p2p._net import backoff as backoff_module
from trio_p2p._net.backoff import LASTING_TIME, MAX_AWAITED_PAUSE, MAX_PAUSE, MIN_PAUSE, Backoff
from trio_p2p._net.network_changes import Network, current_network

FORK = """
import os, trio
from trio_p2p._net.backoff import Backoff
async def main():
    backoff = Backoff()
    print([backoff.next_pause() for _ in range(5)], flush=True)
for _ in range(2):
    if not os.fork():
        trio.run(main)
        os._exit(0)
    os.wait()
"""


def even_backoff() -> Backoff:
    """Pauses that are neither longer nor shorter than planned."""
    return Backoff(random=lambda: 0.5)


async def test_pauses_double() -> None:
    backoff = even_backoff()
    pauses = [backoff.next_pause() for _ in range(12)]
    assert pauses == [min(MIN_PAUSE * 2**n, MAX_PAUSE) for n in range(12)]


async def test_pauses_stay_short_for_a_while_at_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backoff = Backoff(early=30, early_longest=1, random=lambda: 1.0)
    backoff.reset()
    began_at = trio.current_time()
    while trio.current_time() < began_at + 30:
        pause = backoff.next_pause()
        assert pause <= 1
        await trio.sleep(pause)
    assert [backoff.next_pause() for _ in range(3)] == [2, 4, 8]
    backoff.works()  # not for long enough
    assert backoff.next_pause() == 16
    backoff.works()
    await trio.sleep(LASTING_TIME)
    assert max(backoff.next_pause() for _ in range(9)) == 1


async def test_what_breaks_soon_makes_no_pause_shorter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backoff = even_backoff()
    for _ in range(5):
        backoff.next_pause()
    backoff.works()
    await trio.sleep(LASTING_TIME - 1)
    assert backoff.next_pause() == MIN_PAUSE * 2**5
    await trio.sleep(LASTING_TIME)  # that an attempt takes does not count
    assert backoff.next_pause() == MIN_PAUSE * 2**6
    backoff.works()
    await trio.sleep(LASTING_TIME)
    assert backoff.next_pause() == MIN_PAUSE
    assert backoff.next_pause() == MIN_PAUSE * 2


async def test_pauses_are_short_after_a_reset() -> None:
    backoff = even_backoff()
    backoff.next_pause()
    backoff.reset()
    assert backoff.next_pause() == MIN_PAUSE


async def test_first_attempt_after_what_has_lasted_is_made_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backoff = Backoff(lasting=1.0, at_once=True, random=lambda: 0.5)
    planned = [0.0, MIN_PAUSE, 2 * MIN_PAUSE]
    assert [backoff.next_pause() for _ in range(3)] == planned
    backoff.works()
    await trio.sleep(1.0)
    assert [backoff.next_pause() for _ in range(3)] == planned


async def test_pauses_double_from_what_one_of_them_is_at_least() -> None:
    backoff = even_backoff()
    assert backoff.next_pause(1.0) == 1.0
    assert backoff.next_pause(1.0) == 2.0
    assert backoff.next_pause() == 4.0


async def test_pause_is_cut_short_when_something_begins_to_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backoff, began_at = Backoff(MAX_PAUSE, random=lambda: 0.5), trio.current_time()
    await backoff.rest(current_network(), is_awaited=lambda: trio.current_time() > began_at + 10)
    assert 10 <= trio.current_time() - began_at <= 11 + 0.1
    began_at = trio.current_time()
    await backoff.rest(current_network(), is_awaited=lambda: True)
    assert trio.current_time() - began_at == pytest.approx(MAX_AWAITED_PAUSE)
    began_at = trio.current_time()
    await backoff.rest(current_network())
    assert trio.current_time() - began_at == pytest.approx(MAX_PAUSE)


async def test_another_network_ends_the_pause(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(network: Network) -> Network:
        await trio.sleep(1.0)
        return network

    monkeypatch.setattr(backoff_module, "wait_network_changed", change)
    backoff, began_at = Backoff(MAX_PAUSE, random=lambda: 0.5), trio.current_time()
    await backoff.rest(current_network())
    assert trio.current_time() - began_at == pytest.approx(1.0)
    assert backoff.next_pause() == MAX_PAUSE  # which is the shortest here
    at_once = Backoff(2.0, at_once=True, random=lambda: 0.5)
    at_once.next_pause()
    await at_once.rest(current_network())
    assert at_once.next_pause() == 2.0


async def test_no_pause_is_shorter_than_the_other_side_asks_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backoff, network = Backoff(random=lambda: 0.0), current_network(4)
    for asked in (20.0, 3.0):
        began_at = trio.current_time()
        await backoff.rest(network, is_awaited=lambda: True, at_most=1.0, asked=asked)
        assert trio.current_time() - began_at >= asked


@pytest.mark.once
def test_processes_that_fork_do_not_pause_in_step() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True
    ).stdout
    first, second = printed.splitlines()
    assert first != second
