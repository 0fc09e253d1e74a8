"""What the broker's shell holds for one client."""

import pytest
import trio

from trio_p2p._broker import link
from trio_p2p._broker.link import ROUND_TRIP_TIME, Link, Tally
from trio_p2p._net.channel import Channel

from ..kit.loopback import open_streams


async def test_round_trip_is_asked_for_once_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[trio.abc.Stream] = []

    def measure(stream: trio.abc.Stream) -> int:
        measured.append(stream)
        return len(measured)

    monkeypatch.setattr(link, "round_trip", measure)
    async with open_streams() as (stream, _):
        client = Link(Channel(stream), trio.CancelScope(), Tally(0), stream)
        assert [client.round_trip(now) for now in (0.0, ROUND_TRIP_TIME / 2)] == [1, 1]
        assert client.round_trip(ROUND_TRIP_TIME) == 2
        assert measured == [stream, stream]
