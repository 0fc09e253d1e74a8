"""Passes TCP connections on, and does to some of them what networks and middleboxes do."""

import enum
import random
import socket
import struct
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._net.system import System

from .loopback import HOST, LIFETIME

CHUNK_BYTES = 65_536


class Mishap(enum.Enum):
    """What happens to a connection."""

    STALL = "nothing passes for a while, then all"
    RESET = "both sides are reset"
    END = "both sides see an end, and what was under way arrives"
    TRUNCATION = "what was under way is lost, and both sides see an end"
    CORRUPTION = "a bit is another one"
    BLACK_HOLE = "nothing passes any more, and no side hears of it"


@attrs.frozen
class Accident:
    """A mishap, and when it happens.

    Attributes:
        mishap: what happens.
        after: behind how many bytes, both directions together.
        seconds: how long a stall lasts.
    """

    mishap: Mishap
    after: int
    seconds: float


class Forwarder:
    """Passes on what comes to a port.

    Args:
        target: where to.
        chance: decides what happens to which connection.
        probability: of an accident, for each connection.
        most_bytes: how many bytes pass before it at most.
    """

    def __init__(
        self,
        target: tuple[str, int],
        chance: random.Random,
        probability: float,
        most_bytes: int,
    ) -> None:
        self.port = 0
        self.happened: list[Mishap] = []
        self._target = target
        self._chance = chance
        self._probability = probability
        self._most_bytes = most_bytes

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._forward, listeners)

    async def serve_one(self, listener: trio.SocketListener) -> None:
        """Pass on one connection that comes to a listener, which is closed then."""
        with trio.move_on_after(LIFETIME):
            async with listener:
                near = await listener.accept()
            await self._forward(near)

    async def _forward(self, near: trio.SocketStream) -> None:
        accident = self._draw()
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with near, await trio.open_tcp_stream(*self._target) as far:
                await _Connection(near, far, accident, self.happened).run()

    def _draw(self) -> Accident | None:
        chance = self._chance
        if chance.random() >= self._probability:
            return None
        return Accident(
            chance.choice(list(Mishap)),
            chance.randrange(self._most_bytes),
            chance.uniform(0.01, 0.3),
        )


class _Connection:
    def __init__(
        self,
        near: trio.SocketStream,
        far: trio.SocketStream,
        accident: Accident | None,
        happened: list[Mishap],
    ) -> None:
        self._ends = near, far
        self._accident = accident
        self._happened = happened
        self._passed = 0
        self._is_swallowed = False

    async def run(self) -> None:
        near, far = self._ends
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, near, far, nursery.cancel_scope)
                nursery.start_soon(self._pass_on, far, near, nursery.cancel_scope)
        finally:
            for stream in self._ends:
                await trio.aclose_forcefully(stream)

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(CHUNK_BYTES):
                self._passed += len(data)
                accident = self._accident
                if accident is not None and self._passed > accident.after:
                    self._accident = None
                    self._happened.append(accident.mishap)
                    data = await self._suffer(accident, bytes(data), scope)
                if self._is_swallowed:
                    continue
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not self._is_swallowed:
                self._reset()
                scope.cancel(reason="a side has gone")

    async def _suffer(self, accident: Accident, data: bytes, scope: trio.CancelScope) -> bytes:
        match accident.mishap:
            case Mishap.STALL:
                await trio.sleep(accident.seconds)
            case Mishap.RESET:
                self._reset()
                scope.cancel(reason="reset")
            case Mishap.END | Mishap.TRUNCATION:
                scope.cancel(reason="ended")
                return data if accident.mishap is Mishap.END else b""
            case Mishap.CORRUPTION:
                middle = len(data) // 2
                return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            case Mishap.BLACK_HOLE:
                self._is_swallowed = True
        return data

    def _reset(self) -> None:
        for stream in self._ends:
            with suppress(OSError):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class DetouredSystem(System):
    """This host, from which all connections but those to a broker go through forwarders.

    Args:
        brokers: where the broker is reached.
        nursery: where the forwarders run.
        chance, probability, most_bytes: as for :class:`Forwarder`.
    """

    def __init__(
        self,
        brokers: Iterable[tuple[str, int]],
        nursery: trio.Nursery,
        chance: random.Random,
        probability: float,
        most_bytes: int,
    ) -> None:
        self._brokers = {endpoint_of(broker) for broker in brokers}
        self._nursery = nursery
        self._chance = chance
        self._probability = probability
        self._most_bytes = most_bytes
        self.happened: list[Mishap] = []

    def start_connecting(self, sock: socket.socket, remote: Endpoint) -> None:
        if remote in self._brokers:
            super().start_connecting(sock, remote)
            return
        forwarder = Forwarder(remote.sockaddr, self._chance, self._probability, self._most_bytes)
        forwarder.happened = self.happened
        listening = socket.socket()
        listening.bind((HOST, 0))
        listening.listen()
        port = listening.getsockname()[1]
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        self._nursery.start_soon(forwarder.serve_one, listener)
        super().start_connecting(sock, Endpoint(remote.address, port))


@asynccontextmanager
async def open_forwarder(
    target: tuple[str, int], chance: random.Random, probability: float, most_bytes: int
) -> AsyncGenerator[Forwarder]:
    """A forwarder that serves as long as the context lasts."""
    forwarder = Forwarder(target, chance, probability, most_bytes)
    async with trio.open_nursery() as nursery:
        await nursery.start(forwarder.serve)
        yield forwarder
        nursery.cancel_scope.cancel(reason="the test is over")
