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


@pytest.mark.once
def test_processes_that_fork_do_not_pause_in_step() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True
    ).stdout
    first, second = printed.splitlines()
    assert first != second
