"""A broker that says something else than it should."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio

from trio_p2p._broker.connection import Messages
from trio_p2p._broker.server import Broker
from trio_p2p._wire.messages import Message

from .loopback import HOST, LIFETIME

Lie: TypeAlias = Callable[[Message], Iterable[Message]]
Address: TypeAlias = tuple[str, int]


class LyingBroker(Broker):
    """A broker that sends something else than it should."""

    def __init__(self, lie: Lie) -> None:
        super().__init__()
        self._lie = lie

    def _post(self, outgoing: Messages) -> None:
        super()._post([(to, lie) for to, message in outgoing for lie in self._lie(message)])


@asynccontextmanager
async def open_lying_broker(lie: Lie) -> AsyncGenerator[Address]:
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host=HOST)
            nursery.start_soon(LyingBroker(lie).serve_listeners, listeners)  # noqa: ASYNC113
            yield listeners[0].socket.getsockname()
            nursery.cancel_scope.cancel(reason="the test is over")
