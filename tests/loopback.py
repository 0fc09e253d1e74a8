"""Brokers and peers on the loopback interface, and what they hold: descriptors, tasks."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from trio_p2p import P2PListener, P2PSender, open_p2p_listener, open_p2p_sender, open_p2p_stream
from trio_p2p._broker.server import Broker

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds until something that hangs fails its test
LIFETIME = 60.0  # the same for all that a test does


class LoopbackBroker:
    """A broker that can be killed, and started again where it was."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.broker = Broker()
        self.port = 0
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def uids(self) -> frozenset[str]:
        return self.broker.registry.uids

    async def start(self) -> None:
        self.port = await self._nursery.start(self._serve)

    async def kill(self) -> None:
        """Close all its connections, and forget all it knew."""
        self._scope.cancel(reason="the test kills the broker")
        await self._ended.wait()
        self.broker = Broker()

    async def _serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        with self._scope:
            listeners = await trio.open_tcp_listeners(self.port, host=HOST)
            task_status.started(listeners[0].socket.getsockname()[1])
            await trio.serve_listeners(self.broker.serve_socket, listeners)
        self._ended.set()


@asynccontextmanager
async def open_broker() -> AsyncGenerator[LoopbackBroker]:
    """A broker; also the time limit of whatever is done with it."""
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            broker = LoopbackBroker(nursery)
            await broker.start()
            yield broker
            nursery.cancel_scope.cancel(reason="the test is over")


@asynccontextmanager
async def open_pair(
    *techniques: str,
) -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream]]:
    """The two ends of a stream, the sender's first, without broker, listener or sender."""
    chosen = techniques or ("fast", "classic")
    async with open_broker() as broker:
        async with open_p2p_listener("receiver", broker.address, techniques=chosen) as listener:
            opened = await open_p2p_stream("receiver", broker.address, techniques=chosen)
            accepted = await listener.accept()
        async with opened, accepted:
            yield opened, accepted


@asynccontextmanager
async def open_peers(
    uid: str, *techniques: str
) -> AsyncGenerator[tuple[LoopbackBroker, P2PListener, P2PSender]]:
    chosen = techniques or ("fast", "classic")
    async with (
        open_broker() as broker,
        open_p2p_listener(uid, broker.address, techniques=chosen) as listener,
        open_p2p_sender(broker.address, techniques=chosen) as sender,
    ):
        yield broker, listener, sender


async def exchange(stream: trio.SocketStream, data: bytes) -> bytes:
    """Send data and receive as much as comes, both at the same time; then close."""

    async def send() -> None:
        await stream.send_all(data)
        await stream.send_eof()

    received = b""
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for piece in stream:
            received += piece
    return received


async def echo(stream: trio.SocketStream) -> None:
    async for piece in stream:
        await stream.send_all(piece)
    await stream.send_eof()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, that nothing tells of."""
    with trio.fail_after(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - it is others' state
            await trio.sleep(0.002)


@attrs.frozen
class Held:
    """What this process and this run hold."""

    descriptors: int
    tasks: int


def held() -> Held:
    return Held(
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        tasks=trio.lowlevel.current_statistics().tasks_living,
    )
