"""How a peer leaves a broker that goes away."""

import pytest
import trio
from trio.testing import MockClock

from trio_p2p._control.handover import LINGER_TIME, MAX_AWAY_TIME, stay_away, wait_useless
from trio_p2p._net.network_changes import current_network
from trio_p2p._wire.messages import Draining, Hello

from ..kit.fake_broker import open_fake_broker
from ..kit.hostile import GREETING
from ..kit.loopback import open_broker, open_listener, until
from ..kit.raw_client import RawClient


@pytest.mark.parametrize(
    ("milliseconds", "at_least", "seconds"),
    [
        (5000, 0.1, 5.0),
        (1, 2.0, 2.0),  # a broker that says so on each connection is not asked all the time
        (3_600_000, 0.1, MAX_AWAY_TIME),
    ],
)
async def test_time_away(
    milliseconds: int, at_least: float, seconds: float, autojump_clock: MockClock
) -> None:
    began_at = trio.current_time()
    await stay_away(Draining(milliseconds), current_network(), at_least)
    assert seconds <= trio.current_time() - began_at <= 1.5 * seconds + 0.01


async def test_connection_lingers_when_it_has_given_way(autojump_clock: MockClock) -> None:
    ended, retired = trio.Event(), trio.Event()
    began_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_useless, ended, retired)
        await trio.sleep(3)
        retired.set()
    assert trio.current_time() - began_at == pytest.approx(3 + LINGER_TIME)


async def test_lost_connection_does_not_linger(autojump_clock: MockClock) -> None:
    ended, retired = trio.Event(), trio.Event()
    retired.set()
    began_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_useless, ended, retired)
        await trio.sleep(1)
        ended.set()
    assert trio.current_time() - began_at == pytest.approx(1)


async def test_broker_cannot_send_clients_to_forbidden_places() -> None:
    """Neither to a port below 1024 nor to nowhere: the client comes back."""
    came = 0
    async with open_broker() as broker:
        places = (
            "127.0.0.1:80",
            "0.0.0.0:4433",
            f"[::1]:{broker.port}",
            "no broker",
        )

        async def send_away(client: RawClient) -> None:
            nonlocal came
            came += 1
            await client.receive(Hello)
            await client.send(GREETING, Draining(1, places))

        async with open_fake_broker(send_away) as address, trio.open_nursery() as nursery:

            async def listen() -> None:
                async with open_listener("alice", address):
                    raise AssertionError

            nursery.start_soon(listen)
            await until(lambda: came >= 2)
            nursery.cancel_scope.cancel(reason="the test is over")
        assert broker.uids == set()
