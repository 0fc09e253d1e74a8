"""Requests to the application of the status page, without a server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trio_p2p._broker.counts import Counts
from trio_p2p._broker.server import Broker
from trio_p2p._commands.status.access import Access
from trio_p2p._commands.status.app import StatusApp
from trio_p2p._commands.status.overview import Overview

LOCAL = {"host": "127.0.0.1:9433"}


@attrs.define
class Answered:
    """What was answered, as far as it has come."""

    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    body: bytes = b""
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)


class Site:
    """A broker's status."""

    def __init__(self, token: str | None = None) -> None:
        self.broker = Broker()
        self.counts = Counts()
        self.overview = Overview(self.broker, self.counts)
        self.app = StatusApp(self.overview, Access(token))

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        query: str = "",
        headers: dict[str, str] = LOCAL,
    ) -> Answered:
        """The whole answer."""
        answered = Answered()
        await self.run(path, answered, trio.Event(), method=method, query=query, headers=headers)
        return answered

    async def run(
        self,
        path: str,
        answered: Answered,
        gone: trio.Event,
        *,
        method: str = "GET",
        query: str = "",
        headers: dict[str, str] = LOCAL,
    ) -> None:
        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = {
                    name.decode(): value.decode() for name, value in message["headers"]
                }
            else:
                answered.body += message["body"]
            answered.changed.unpark_all()

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await self.app(scope, receive, send)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[Answered]:
        """A page that is told of changes while the block lasts."""
        answered, gone = Answered(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run, "/events", answered, gone)
            yield answered
            gone.set()
