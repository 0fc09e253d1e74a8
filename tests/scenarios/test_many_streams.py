"""Many streams over one connection: each is as good as if it were alone."""

import itertools
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_p2p import P2PConnection, P2PStream, Peer, RelayLimits, open_peer
from trio_p2p._broker.server import Broker
from trio_p2p._stream.byte_queue import Piece
from trio_p2p._stream.credit import DEFAULT_STREAMS, EARLY_STREAMS
from trio_p2p._stream.frames import MIN_WINDOW
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.stream_frames import EOF_FLAG
from trio_p2p._stream.substream import OUTBOX_BYTES

from ..kit.connections import (
    Connected,
    Mover,
    OpenedConnections,
    busy,
    clog,
    held_by,
    open_connected,
    part_of,
    requests_counted,
)
from ..kit.loopback import (
    PATIENCE,
    TECHNIQUES,
    LoopbackBroker,
    echo,
    exchange,
    open_broker,
    until,
)
from ..kit.multiplexers import stream_frames_of
from ..kit.streams import Content, exchange_content

pytestmark = pytest.mark.once

MOVES = 5
UNREAD = 40  # streams
REQUESTS = 500
TASKS = 20

WAYS = pytest.mark.parametrize("way", ["direct", "relay", "moving"])


@asynccontextmanager
async def open_connected_by(way: str) -> AsyncGenerator[Connected]:
    """A connection, which keeps moving from one path to another if that is the way."""
    async with (
        open_connected("any" if way == "moving" else way) as connected,
        trio.open_nursery() as nursery,
    ):
        if way == "moving":
            nursery.start_soon(Mover(connected).keep_moving)
        yield connected
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.slow
@WAYS
@pytest.mark.parametrize("opener", ["sender", "listener"])
async def test_streams_of_a_busy_connection_are_good_trio_streams(way: str, opener: str) -> None:
    async with open_connected_by(way) as connected:
        make = connected.open_pair if opener == "sender" else connected.open_pair_back

        async def make_clogged() -> tuple[P2PStream, P2PStream]:
            pair = await make()
            for stream in pair:
                await clog(stream)
            return pair

        async with busy(connected):
            await trio.testing.check_half_closeable_stream(make, make_clogged)
            while way == "moving" and connected.opener.statistics().moves < MOVES:
                await trio.testing.check_half_closeable_stream(make, make_clogged)
        await connected.wait_empty()


@WAYS
async def test_streams_that_are_not_read_hold_up_no_other(way: str) -> None:
    content, answer = Content(1, 4 << 20), Content(2, 4 << 20)
    async with open_connected_by(way) as connected:
        unread = [await connected.open_pair() for _ in range(UNREAD // 2)]
        unread += [await connected.open_pair_back() for _ in range(UNREAD // 2)]
        not_accepted = [await connected.opener.open_stream() for _ in range(UNREAD)]
        async with trio.open_nursery() as nursery:
            for end in [*itertools.chain.from_iterable(unread), *not_accepted]:
                nursery.start_soon(clog, end)
        pair = await connected.open_pair_back()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(exchange_content, pair[0], content, answer)
                nursery.start_soon(exchange_content, pair[1], answer, content)
        accepted = [await connected.listener.accept() for _ in not_accepted]
        for end in itertools.chain(pair, not_accepted, accepted, *unread):
            end.abort()
        await connected.wait_empty()


@WAYS
async def test_what_was_not_read_is_read_later(way: str) -> None:
    async with open_connected_by(way) as connected, busy(connected):
        opened, accepted = await connected.open_pair()
        await clog(opened)
        await trio.testing.wait_all_tasks_blocked()
        sent = opened._state.sent + (OUTBOX_BYTES - opened._state.room)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.aclose)
            assert sum([len(data) async for data in accepted]) == sent
            await accepted.aclose()


class Turns:
    """Counts what leaves while a stream waits for its turn.

    Args:
        multiplexer: whose streams to look at.

    Attributes:
        multiplexer: the same.
        pieces: how many pieces have left, by stream.
        longest: how many pieces of other streams have left, at most, while one stream waited.
        ready: how many streams had something to send at the same time, at most.
    """

    def __init__(self, multiplexer: Multiplexer) -> None:
        self.pieces: Counter[int] = Counter()
        self.longest = 0
        self.ready = 0
        self.multiplexer = multiplexer
        self._waiting: Counter[int] = Counter()
        self._pull = multiplexer.pull

    def pull(self, room: int) -> list[Piece]:
        streams = self.multiplexer._table.streams
        ready = {number for number, each in streams.items() if each.has_data}
        self.ready = max(self.ready, len(ready))
        pulled = self._pull(room)
        for frame in stream_frames_of(b"".join(pulled)):
            if frame.kind <= EOF_FLAG and frame.payload:
                self.pieces[frame.number] += 1
                self._waiting.update(ready)
                del self._waiting[frame.number]
        self.longest = max(self.longest, *self._waiting.values(), 0)
        return pulled


@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_streams_take_turns(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams, size = 8, 2 << 20
    # All have something to send when the session has no room.
    async with open_connected(path, window=MIN_WINDOW) as connected:
        pairs = [await connected.open_pair() for _ in range(streams)]
        turns = Turns(connected.opener._streams._multiplexer)
        monkeypatch.setattr(turns.multiplexer, "pull", turns.pull)
        async with trio.open_nursery() as nursery:
            for number, (opened, accepted) in enumerate(pairs):
                big, small = Content(number, size), Content(number, 1)
                nursery.start_soon(exchange_content, opened, big, small)
                nursery.start_soon(exchange_content, accepted, small, big)
        assert len(turns.pieces) == streams
        assert turns.ready == streams
        assert turns.longest <= streams  # one more than the others, if credit comes meanwhile


@WAYS
async def test_server_speaks_first(way: str) -> None:
    async with open_connected_by(way) as connected, busy(connected):
        for number, make in enumerate([connected.open_pair, connected.open_pair_back] * 5):
            opened, accepted = await make()
            await accepted.send_all(bytes([number]))
            assert await opened.receive_some() == bytes([number])
            opened.abort()
            accepted.abort()


@pytest.mark.parametrize("path", TECHNIQUES)
async def test_server_speaks_first_on_the_first_stream(path: str) -> None:
    async def greet(stream: P2PStream) -> None:
        await stream.send_all(b"hello")

    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_peer(broker.address, techniques=TECHNIQUES[path]) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(receiver.serve, "greeter", greet)
        async with await sender.open_stream("greeter") as stream:
            assert b"".join([data async for data in stream]) == b"hello"
        nursery.cancel_scope.cancel(reason="the test is over")


# Many at once


@asynccontextmanager
async def open_echo(path: str, **options: Any) -> AsyncGenerator[tuple[LoopbackBroker, Peer]]:
    """A receiver that is reached by one kind of path only, and a sender that tries all.

    The relay has no second circuit to give.
    """
    async with open_broker() as broker, trio.open_nursery() as nursery:
        await broker.kill()
        broker.broker = Broker(RelayLimits(circuits_per_ip=1, circuits_per_identity=1))
        await broker.start()
        async with (
            open_peer(broker.address, techniques=TECHNIQUES[path], **options) as receiver,
            open_peer(broker.address) as sender,
        ):
            await nursery.start(receiver.serve, "echo", echo)  # noqa: ASYNC111 - it is cancelled before
            yield broker, sender
            nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("max_streams", [EARLY_STREAMS, DEFAULT_STREAMS])
@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_many_requests_at_once(path: str, max_streams: int) -> None:
    async def ask(number: int) -> None:
        data = part_of(number, 0, 1 + number * 7 % 5000)
        assert await exchange(await sender.open_stream("echo"), data) == data
        circuits.add(broker.broker.registry.circuits)

    circuits: set[int] = set()
    async with open_echo(path, max_streams=max_streams) as (broker, sender):
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(REQUESTS):
                    nursery.start_soon(ask, number)
        connection = await sender.connect("echo")
        assert sender.statistics().connections == 1
        assert circuits == {1 if path == "relay" else 0}
        await until(lambda: not held_by(connection))


class SchedulerTurns(trio.abc.Instrument):
    """Counts them."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += timeout >= 0


@pytest.mark.parametrize("opener", ["sender", "receiver"])
async def test_handlers_of_streams_that_come_together_begin_together(opener: str) -> None:
    async def note(_stream: P2PStream) -> None:
        began_in.append(turns.count)

    turns, began_in = SchedulerTurns(), list[int]()
    async with open_connected() as connected, trio.open_nursery() as nursery:
        if opener == "sender":
            opening = connected.opener
            await nursery.start(connected.receiver.serve, "other", note)
        else:
            opening = connected.acceptor
            nursery.start_soon(connected.opener.serve, note)
        trio.lowlevel.add_instrument(turns)
        async with trio.open_nursery() as asking:
            for _ in range(TASKS):
                asking.start_soon(partial(opening.open_stream, uid="other"))
        await until(lambda: len(began_in) == TASKS)
        trio.lowlevel.remove_instrument(turns)
        assert len(set(began_in)) < TASKS / 5
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_tasks_that_ask_at_once_make_one_connection(path: str) -> None:
    async def ask(number: int) -> None:
        if number % 4:
            stream = await sender.open_stream("receiver")
        else:
            stream = await (await sender.connect("receiver")).open_stream()
        connections.add(stream.connection)
        data = part_of(number, 0, 1000)
        assert await exchange(stream, data) == data

    tracers = OpenedConnections(), OpenedConnections()
    connections: set[P2PConnection] = set()
    async with (
        open_broker() as broker,
        open_peer(broker.address, tracer=tracers[0]) as receiver,
        open_peer(broker.address, techniques=TECHNIQUES[path], tracer=tracers[1]) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(receiver.serve, "receiver", echo)
        with requests_counted() as requests:
            async with trio.open_nursery() as asking:
                for number in range(TASKS):
                    asking.start_soon(ask, number)
        assert requests == {"fast" if path == "direct" else "relay": 1}
        assert len(connections) == 1
        assert [len(tracer.connections) for tracer in tracers] == [1, 1]
        nursery.cancel_scope.cancel(reason="the test is over")
