"""Requests beside a transfer on two streams of HTTP/2, by the library ``h2`` on an SSLStream."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio
from h2.events import DataReceived, RequestReceived

from .h2_requests import ANSWER_HEADERS, REQUEST_HEADERS, Connection
from .request_programs import ANSWER, REQUEST, split_address
from .slow_link_programs import DONE, TRANSFER_BYTES, Client, Way, play
from .ssl_identities import SSLStream, open_ssl_stream, serve_ssl

_REQUESTS, _TRANSFERS = 1, 3  # the numbers of the streams


class _Client:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._news = trio.lowlevel.ParkingLot()
        self._received = {_REQUESTS: 0, _TRANSFERS: 0}  # bytes that are not waited for yet
        for number in self._received:
            connection.http.send_headers(number, REQUEST_HEADERS)

    async def ask(self) -> None:
        self._connection.http.send_data(_REQUESTS, REQUEST)
        await self._connection.flush()
        await self._wait_received(_REQUESTS, len(ANSWER))

    async def transfer(self) -> None:
        http, left = self._connection.http, TRANSFER_BYTES
        while left:
            room = http.local_flow_control_window(_TRANSFERS)
            count = min(left, room, http.max_outbound_frame_size)
            if not count:
                await self._news.park()
                continue
            http.send_data(_TRANSFERS, bytes(count))
            left -= count
            await self._connection.wait_flushed()
        await self._wait_received(_TRANSFERS, len(DONE))

    async def receive(self) -> None:
        async for event in self._connection.events():
            if isinstance(event, DataReceived):
                self._received[event.stream_id] += len(event.data)
            self._news.unpark_all()

    async def _wait_received(self, number: int, count: int) -> None:
        while self._received[number] < count:
            await self._news.park()
        self._received[number] -= count


@asynccontextmanager
async def _open_client(window: int, address: str) -> AsyncGenerator[Client]:
    async with (
        await open_ssl_stream(split_address(address)) as stream,
        trio.open_nursery() as nursery,
    ):
        client = _Client(Connection(stream, client_side=True, stream_window=window))
        nursery.start_soon(client.receive)
        yield Client(client.ask, client.transfer)
        nursery.cancel_scope.cancel(reason="the benchmark is done with this process")


async def _serve(window: int, host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_ssl, partial(_answer_all, window), host)
        task_status.started(f"{host}:{port}")


async def _answer_all(window: int, stream: SSLStream) -> None:
    connection = Connection(stream, client_side=False, stream_window=window)
    answers = {_REQUESTS: ANSWER, _TRANSFERS: DONE}
    sizes = {_REQUESTS: len(REQUEST), _TRANSFERS: TRANSFER_BYTES}
    received = dict.fromkeys(sizes, 0)
    async for event in connection.events():
        if isinstance(event, RequestReceived):
            connection.http.send_headers(event.stream_id, ANSWER_HEADERS)
        elif isinstance(event, DataReceived):
            number = event.stream_id
            received[number] += len(event.data)
            if received[number] == sizes[number]:
                received[number] = 0
                connection.http.send_data(number, answers[number])


if __name__ == "__main__":
    size, *rest = sys.argv[1:]
    play(Way(partial(_serve, int(size)), partial(_open_client, int(size))), rest)
