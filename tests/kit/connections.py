"""Both ends of a connection and of its streams, what its multiplexers hold, and what moves it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import P2PConnection, P2PListener, P2PStream, PathKind, Peer, Tracer, open_peer
from trio_p2p._broker.connection import Connection
from trio_p2p._broker.registry import Registry
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._connect.relayed import RelayDialer
from trio_p2p._connect.secured import Dialer, open_secured
from trio_p2p._stream.states import SessionState
from trio_p2p._stream.tls import make_context
from trio_p2p._wire.messages import IntroductionRequest, Message, StreamKind

from .loopback import PATIENCE, TECHNIQUES, LoopbackBroker, open_broker, until

PIECE_BYTES = 65_536
_PERIOD = 65_521

Pause: TypeAlias = Callable[[], Awaitable[None]]

_PATTERN = random.Random("connections").randbytes(_PERIOD) * 20


def part_of(seed: int, offset: int, count: int) -> bytes:
    """Part of endless bytes that are others for each seed; up to a MiB of them."""
    start = (seed * 4099 + offset) % _PERIOD
    return _PATTERN[start : start + count]


class OpenedConnections(Tracer):
    """Collects the connections that a peer has, made by either side."""

    def __init__(self) -> None:
        self.connections: list[P2PConnection] = []

    def connection_opened(self, connection: P2PConnection) -> None:
        self.connections.append(connection)


@attrs.frozen(eq=False)
class Connected:
    """A connection, and what it took to make it.

    Attributes:
        broker: the broker.
        receiver: the peer that the listener belongs to.
        listener: registered as "receiver".
        sender: the peer that has made the connection.
        opener: the connection at its side.
        acceptor: the connection at the listener's side.
    """

    broker: LoopbackBroker
    receiver: Peer
    listener: P2PListener[P2PStream]
    sender: Peer
    opener: P2PConnection
    acceptor: P2PConnection

    async def open_pair(self) -> tuple[P2PStream, P2PStream]:
        """Both ends of a new stream, the sender's first; of one task at a time."""
        opened = await self.opener.open_stream()
        return opened, await self.listener.accept()

    async def open_pair_back(self) -> tuple[P2PStream, P2PStream]:
        """The same for a stream that the listener's side opens."""
        opened = await self.acceptor.open_stream()
        return opened, await self.opener.accept()

    async def wait_empty(self) -> None:
        """Wait until neither side holds anything of any stream."""
        with trio.move_on_after(PATIENCE):
            await until(lambda: not held_by(self.opener) and not held_by(self.acceptor))
        assert held_by(self.opener) == held_by(self.acceptor) == {}


@asynccontextmanager
async def open_connected(path: str = "direct", **options: Any) -> AsyncGenerator[Connected]:
    """Two peers with a connection, over paths of one kind or over any.

    Args:
        path: the kind.
        options: of both peers.
    """
    tracer = OpenedConnections()
    async with (
        open_broker() as broker,
        open_peer(broker.address, tracer=tracer, **options) as receiver,
        receiver.listen("receiver") as listener,
        open_peer(broker.address, techniques=TECHNIQUES[path], **options) as sender,
    ):
        opener = await sender.connect("receiver", accept=True)
        await until(lambda: bool(tracer.connections))
        yield Connected(broker, receiver, listener, sender, opener, tracer.connections[0])


def held_by(connection: P2PConnection) -> dict[str, object]:
    """What a connection holds of its streams: nothing when all of them are over."""
    multiplexer = connection._streams._multiplexer
    holding: dict[str, object] = {
        "streams": multiplexer._table.streams,
        # Which are only of interest while more can be opened.
        "of the other side": multiplexer._table.theirs if not connection.is_over else 0,
        "not released": multiplexer._table.unreleased if not connection.is_over else 0,
        "not looked at": multiplexer.opened,
        "touched": multiplexer.touched,
        "closed": multiplexer.closed,
        "refusals": multiplexer._refusals,
        "control": multiplexer._control,
        "data": multiplexer._data,
        "memory of its own streams": multiplexer._budget._own,
        "memory by which streams have grown": multiplexer._budget._grown,
        "ends": connection._open,
        "told of paths": connection._told_of_paths,
        "closing": connection._streams._closing,
        "asked": connection._streams._asked,
        "waiting to open": len(connection._streams._may_open),
    }
    return {what: value for what, value in holding.items() if value}


async def clog(stream: P2PStream) -> None:
    """Send until the other side, which reads nothing, gives no more credit, and no room is left."""

    async def send() -> None:
        while True:
            await stream.send_all(bytes(PIECE_BYTES))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        state = stream._state
        await until(lambda: state.room < PIECE_BYTES and not state.has_data)
        nursery.cancel_scope.cancel(reason="it is clogged")
    await stream.send_all(bytes(stream._state.room))


# What happens beside a test.


class Traffic:
    """Bytes that pass over other streams of a connection, both ways.

    Attributes:
        received: how many have come at each end, all of them as they should be.
    """

    def __init__(self) -> None:
        self.received: Counter[P2PStream] = Counter()

    async def send(
        self, stream: P2PStream, seed: int, pause: Callable[[], Awaitable[None]]
    ) -> None:
        """Send pieces of any length for ever."""
        chance, sent = random.Random(seed), 0
        while True:
            await pause()
            for _ in range(chance.randrange(4)):
                piece = part_of(seed, sent, chance.randrange(1, PIECE_BYTES))
                await stream.send_all(piece)
                sent += len(piece)

    async def receive(self, stream: P2PStream, seed: int) -> None:
        """Receive what comes."""
        async for data in stream:
            assert data == part_of(seed, self.received[stream], len(data))
            self.received[stream] += len(data)


@asynccontextmanager
async def busy(
    connected: Connected,
    streams: int = 4,
    pause: Pause = trio.testing.wait_all_tasks_blocked,
) -> AsyncGenerator[Traffic]:
    """Keep other streams of a connection busy, some of which are opened by the listener's side.

    Args:
        connected: the connection.
        streams: how many.
        pause: what to do before some pieces are sent. As it is, :func:`wait_all_tasks_blocked` goes
            on to work for others, and each time there is something under way.
    """
    traffic = Traffic()
    pairs = [await connected.open_pair() for _ in range(streams - streams // 2)]
    pairs += [await connected.open_pair_back() for _ in range(streams // 2)]
    ends = [end for pair in pairs for end in pair]
    async with trio.open_nursery() as nursery:
        for number, (one, other) in enumerate(pairs):
            for seed, source, target in ((2 * number, one, other), (2 * number + 1, other, one)):
                nursery.start_soon(traffic.send, source, seed, pause)
                nursery.start_soon(traffic.receive, target, seed)
        yield traffic
        before = traffic.received.copy()
        await until(lambda: all(traffic.received[end] > before[end] for end in ends))
        nursery.cancel_scope.cancel(reason="the test is over")
    for end in ends:
        end.abort()


class Mover:
    """Takes a connection from one path to another, now a direct one, now a relayed one.

    Args:
        connected: the connection, whose peer must have been given an identity.
    """

    def __init__(self, connected: Connected) -> None:
        controls = connected.sender._controls
        self._carrier = connected.opener.carrier
        self._peer_id = connected.opener.peer_id
        self._context = make_context(controls.options.identity)
        self._dialers: dict[PathKind, Dialer] = {
            PathKind.DIRECT: DirectDialer(controls, "receiver", StreamKind.SESSION),
            PathKind.RELAY: RelayDialer(controls, "receiver"),
        }

    async def move(self) -> None:
        """Move once."""
        path = self._carrier.path
        is_direct = path is not None and path.kind is PathKind.DIRECT
        dialer = self._dialers[PathKind.RELAY if is_direct else PathKind.DIRECT]
        found = await open_secured(dialer, self._context, self._peer_id, Tracer())
        assert self._carrier.attach(found.path, found.described, circuit=found.circuit)

    async def keep_moving(self) -> None:
        """Move again when the last move is over, for ever."""
        while True:
            await self.move()
            await until(lambda: self._carrier.session.state is SessionState.ATTACHED)


@contextmanager
def requests_counted() -> Generator[Counter[str]]:
    """Count the introductions that all brokers are asked for, by technique."""
    requests: Counter[str] = Counter()
    receive = Registry.received

    def count(self: Registry, connection: Connection, message: Message, now: float) -> Any:
        if isinstance(message, IntroductionRequest):
            requests[message.technique] += 1
        return receive(self, connection, message, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "received", count)
        yield requests
