"""The connection to the broker: what a broker says that has no room for it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from trio_p2p import BusyError, Technique, open_peer
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import RefusalCode, Refused

from ..kit.loopback import HOST, PATIENCE

REFUSED = Refused(RefusalCode.BUSY, "too many of your network", None, 60_000)


class BusyBroker:
    """Refuses each connection, and counts them."""

    def __init__(self) -> None:
        self.connections = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(encode(REFUSED))
                await stream.send_eof()
                await stream.receive_some()


@asynccontextmanager
async def open_busy_broker() -> AsyncGenerator[tuple[BusyBroker, tuple[str, int]]]:
    broker = BusyBroker()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE):
            [listener] = await nursery.start(partial(trio.serve_tcp, broker.serve, 0, host=HOST))
            yield broker, listener.socket.getsockname()
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_busy_broker_is_left_alone_for_as_long_as_it_says() -> None:
    async with (
        open_busy_broker() as (broker, address),
        open_peer(address, techniques=[Technique.FAST]) as peer,
    ):
        with pytest.raises(BusyError, match="too many of your network") as caught:
            async with peer.listen("alice"):
                pass
        assert 59 < caught.value.retry_after <= 60
        before = broker.connections
        for _ in range(10):
            with pytest.raises(BusyError):
                async with peer.listen("alice"):
                    pass
            with trio.move_on_after(0.01):
                await peer.open_stream("bob")
        assert broker.connections == before
