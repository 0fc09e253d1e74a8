"""When a broker that was lost is connected to again."""

import pytest
import trio
import trio.testing

from trio_p2p import BrokerLostError
from trio_p2p._control.patience import RESTART_PAUSE, RESTART_TIME, Patience
from trio_p2p._net.backoff import LASTING_TIME, MAX_PAUSE
from trio_p2p._net.network_changes import current_network

AGAIN = 20  # times, as pauses are random


async def pauses_of(patience: Patience, seconds: float) -> list[float]:
    """How long each pause is that begins within some seconds."""
    until, pauses = trio.current_time() + seconds, list[float]()
    while (began_at := trio.current_time()) < until:
        await patience.rest(current_network(), BrokerLostError("lost"), is_spare=False)
        pauses.append(trio.current_time() - began_at)
    return pauses


@pytest.mark.parametrize("outage", [2.0, 10.0, RESTART_TIME])
async def test_broker_that_is_back_within_seconds_is_tried_within_one(
    autojump_clock: trio.testing.MockClock, outage: float
) -> None:
    patience = Patience(lambda: False)
    for _ in range(AGAIN):
        assert max(await pauses_of(patience, outage)) <= RESTART_PAUSE + 1e-6
        patience.works()
        await trio.sleep(LASTING_TIME)


async def test_broker_that_stays_away_is_left_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pauses = await pauses_of(Patience(lambda: False), 3600)
    assert len(pauses) < 300
    assert MAX_PAUSE < max(pauses) < 2 * MAX_PAUSE


async def test_broker_that_is_lost_at_once_each_time_is_left_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patience = Patience(lambda: False)
    for _ in range(200):
        await pauses_of(patience, 0.001)
        patience.works()
    assert min(await pauses_of(patience, 100)) >= MAX_PAUSE / 2
