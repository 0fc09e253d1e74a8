"""A connection to the broker is kept alive."""

from ipaddress import IPv4Address

import pytest
import trio
import trio.testing

from trio_p2p import BrokerLostError, UnknownUIDError
from trio_p2p._addresses import Endpoint
from trio_p2p._broker.connection import State
from trio_p2p._broker_client import connection as broker_connection
from trio_p2p._broker_client.connection import KEEPALIVE_TIME, BrokerConnection
from trio_p2p._wire.messages import KeepAlive

from ..kit.loopback import HOST, open_raw_peers, until


async def test_keepalive_every_30_seconds(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    sent_at: list[float] = []

    class Sink(BrokerConnection):
        def __init__(self) -> None:
            self.local = self.remote = Endpoint(IPv4Address(HOST), 4433)

        async def send(self, *messages: object) -> None:
            assert messages == (KeepAlive(),)
            sent_at.append(trio.current_time() - started_at)
            if len(sent_at) == 4:
                raise BrokerLostError

    started_at = trio.current_time()
    await Sink().keep_alive()
    assert sent_at == pytest.approx([30, 60, 90, 120])
    assert KEEPALIVE_TIME == 30


@pytest.mark.parametrize("who", ["receiver", "sender"])
async def test_keepalives_are_sent(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_connection, "KEEPALIVE_TIME", 0.01)
    async with open_raw_peers("receiver") as (broker, _, sender):
        with pytest.raises(UnknownUIDError):
            await sender.open_raw_stream("nobody")
        kept = [c for c in broker.broker._links if c.state is State.CONTROL]
        [connection] = [c for c in kept if (c.registration is not None) is (who == "receiver")]
        first = connection.deadline
        await until(lambda: connection.deadline > first)
