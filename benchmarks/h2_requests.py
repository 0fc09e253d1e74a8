"""Requests over HTTP/2, as little as can be built on the library ``h2`` and an SSLStream.

One connection, a stream for each request, and no application: the server answers in the task that
receives, without a task for the request. What is ready at the same time leaves in one piece.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, StreamEnded
from h2.settings import SettingCodes, Settings

from .request_programs import (
    ANSWER,
    REQUEST,
    STREAMS,
    Ask,
    RequestWay,
    check_answer,
    play_requests,
    split_address,
)
from .ssl_identities import SSLStream, open_ssl_stream, serve_ssl

_WINDOW = 2**20  # bytes of all streams together: those of a wave that is made at once fit in
DEFAULT_WINDOW = 65_535  # bytes (RFC 9113, section 6.9.2)
REQUEST_HEADERS = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/"),
]
ANSWER_HEADERS = [(":status", "200")]


class Connection:
    """One side of a connection.

    Args:
        stream: what carries the connection.
        client_side: whether this side makes the requests.
        stream_window: how many bytes of a stream to take before it is told that they are read.

    Attributes:
        http: the library's connection.
    """

    def __init__(
        self, stream: SSLStream, *, client_side: bool, stream_window: int = DEFAULT_WINDOW
    ) -> None:
        self.http = H2Connection(H2Configuration(client_side=client_side))
        self.http.local_settings = Settings(
            client=client_side,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
            },
        )
        self.http.initiate_connection()
        self.http.increment_flow_control_window(_WINDOW)
        self._stream = stream
        self._is_sending = False
        self._flushed = trio.lowlevel.ParkingLot()

    async def flush(self) -> None:
        """Send what is ready, unless another task is at it, which then does."""
        if self._is_sending:
            return
        self._is_sending = True
        while data := self.http.data_to_send():
            await self._stream.send_all(data)
        self._is_sending = False
        self._flushed.unpark_all()

    async def wait_flushed(self) -> None:
        """Send what is ready, or wait until another task has."""
        await self.flush()
        while self._is_sending:
            await self._flushed.park()

    async def events(self) -> AsyncGenerator[Event]:
        """Give what happens, and send what the other side is to know of it."""
        async for data in self._stream:
            for event in self.http.receive_data(data):
                if isinstance(event, DataReceived):
                    size = event.flow_controlled_length
                    self.http.acknowledge_received_data(size, event.stream_id)
                yield event
            await self.flush()


class _Client:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[int, trio.Event] = {}
        self._sizes: dict[int, int] = {}

    async def ask(self) -> None:
        http = self._connection.http
        number = http.get_next_available_stream_id()
        answered = self._waiting[number] = trio.Event()
        self._sizes[number] = 0
        http.send_headers(number, REQUEST_HEADERS)
        http.send_data(number, REQUEST, end_stream=True)
        await self._connection.flush()
        await answered.wait()
        check_answer(self._sizes.pop(number))

    async def receive(self) -> None:
        async for event in self._connection.events():
            if isinstance(event, DataReceived):
                self._sizes[event.stream_id] += len(event.data)
            elif isinstance(event, StreamEnded):
                self._waiting.pop(event.stream_id).set()


@asynccontextmanager
async def _open_client(address: str) -> AsyncGenerator[Ask]:
    async with (
        await open_ssl_stream(split_address(address)) as stream,
        trio.open_nursery() as nursery,
    ):
        client = _Client(Connection(stream, client_side=True))
        nursery.start_soon(client.receive)
        yield client.ask
        nursery.cancel_scope.cancel(reason="all requests are made")


async def _serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_ssl, _answer_all, host)
        task_status.started(f"{host}:{port}")


async def _answer_all(stream: SSLStream) -> None:
    connection = Connection(stream, client_side=False)
    async for event in connection.events():
        if isinstance(event, StreamEnded):
            connection.http.send_headers(event.stream_id, ANSWER_HEADERS)
            connection.http.send_data(event.stream_id, ANSWER, end_stream=True)


if __name__ == "__main__":
    play_requests(RequestWay(_serve, _open_client), sys.argv[1:])
