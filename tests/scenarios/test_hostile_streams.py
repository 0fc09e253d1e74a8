"""Peers that are admitted, and then say what they like of streams: no other peer is concerned.

Each ends its connection, with one error and one log line, or stays within the limits.
"""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import attrs
import pytest
import trio

from trio_p2p import Identity, P2PConnection, P2PStream
from trio_p2p._listen.serving import serve_streams
from trio_p2p._stream.credit import (
    DEFAULT_STREAMS,
    EARLY_STREAMS,
    FIRST_CREDIT,
    MAX_STREAMS,
    first_credit,
    reserved_memory,
)
from trio_p2p._stream.frames import Kind, header
from trio_p2p._stream.limits import DEFAULT_WINDOW
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._stream.p2p_stream import MIN_ROOM_BYTES
from trio_p2p._stream.path_worker import LAST_TURNS
from trio_p2p._stream.session_sink import TURN_FRAMES
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    EOF_FLAG,
    HEADER_BYTES,
    MAX_OFFSET,
    MAX_STREAM_NUMBER,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    credit_frame,
    open_frame,
    reset_frame,
    stream_header,
)
from trio_p2p._stream.stream_parser import SCRATCH_BYTES
from trio_p2p._stream.substream import OUTBOX_BYTES

from ..kit.connections import held_by
from ..kit.loopback import Held, echo, held, open_broker, settled, until
from ..kit.multiplexers import StreamFrame
from ..kit.raw_connection import RawConnection, open_raw_connection
from ..kit.streams import Content, Peers, exchange_content, open_peers

pytestmark = pytest.mark.once

MANY = 100_000  # frames
BURST = 10_000  # of which so many are said at once
OPENED = 3_000  # streams
UNANSWERED = 500  # of them at most, if that is not what the test is about
PIECE_BYTES = 65_536
HONEST_BYTES = 1 << 20
MIB = 2**20
FLOOD_BYTES = MIB // 8 // HEADER_BYTES * HEADER_BYTES
TURN = TURN_FRAMES + SCRATCH_BYTES // HEADER_BYTES  # frames that are taken at a time, at most
TASK_BYTES = 16_384  # that a handler takes, and what belongs to its stream, at most

Handle: TypeAlias = Callable[[P2PStream], Awaitable[None]]
DATA, OPEN, RESET = StreamFrameKind.DATA, StreamFrameKind.OPEN, StreamFrameKind.RESET
GOAWAY, STREAMS = StreamFrameKind.GOAWAY, StreamFrameKind.STREAMS


def opening(number: int, credit: int = 0, protocol: str = "") -> bytes:
    return open_frame(number, StreamNames("", protocol) if protocol else DEFAULT_NAMES, credit)


def data(number: int, payload: bytes, flags: int = 0) -> bytes:
    return stream_header(DATA | flags, number, len(payload)) + payload


def reset(number: int) -> bytes:
    return reset_frame(number, ResetCode.ABORTED, "")


async def read_nothing(stream: P2PStream) -> None:
    """Hold a stream until it breaks, or the peer has left it."""
    with suppress(trio.BrokenResourceError):
        await stream.wait_path_changed(stream.path)


@attrs.define(eq=False)
class Attacked:
    """A receiver, an attacker's connection to it, and an honest peer beside.

    Attributes:
        peers: the receiver, and the honest peer.
        attacker: the attacker, which has opened one stream, with number 0.
        connection: its connection at the receiver.
        first: that stream there, which no handler has.
        running: how many handlers of the attacker's streams run.
        most_running: how many there were at most.
    """

    peers: Peers
    attacker: RawConnection
    connection: P2PConnection
    first: P2PStream
    running: int = 0
    most_running: int = 0

    @property
    def multiplexer(self) -> Multiplexer:
        return self.connection._streams._multiplexer

    @property
    def unread(self) -> int:
        """How many bytes wait to be read."""
        inboxes = (each._inbox for each in self.multiplexer._table.streams.values())
        return sum(len(inbox) for inbox in inboxes if inbox is not None)

    async def handle(self, handle: Handle, stream: P2PStream) -> None:
        if stream.connection is not self.connection:
            await echo(stream)
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await handle(stream)
        finally:
            self.running -= 1

    async def say(self, frames: Iterable[bytes]) -> None:
        """Have the attacker say frames, many at once."""
        rest = iter(frames)
        while burst := list(itertools.islice(rest, BURST)):
            await self.attacker.say(*burst)

    async def say_all(self, frames: Iterable[bytes]) -> None:
        """The same, and wait until the receiver has got them."""
        await self.say(frames)
        session = self.connection.carrier.session
        await until(lambda: session.incoming.received == self.attacker.sent)

    async def open_streams(self, make: Callable[[int], list[bytes]]) -> None:
        """Open streams, as many at a time as are allowed.

        Args:
            make: gives the frames that open one, and follow at once.
        """
        opened = 0
        while opened < OPENED:
            room = self.attacker.finished + DEFAULT_STREAMS - 1 - opened
            numbers = range(opened, min(opened + room, OPENED))
            await self.say(frame for number in numbers for frame in make(2 * number + 2))
            opened += len(numbers)
            await self.until_finished(OPENED if opened == OPENED else self.attacker.finished + 1)

    async def until_finished(self, count: int) -> None:
        """Wait until the receiver is done with so many streams."""
        await until(lambda: self.attacker.finished >= count)

    async def assert_breaks(self, error: str) -> None:
        """Wait until the connection has ended with an error, and nothing is left of it."""
        await until(lambda: self.connection.is_over)
        assert error in str(self.connection.carrier.session.error)
        await until(lambda: not self.running)
        self.first.abort()
        await until(lambda: not held_by(self.connection))

    async def assert_stands(self) -> None:
        """Make sure that the attacker's connection is as good as any, once it behaves."""
        await self.say([data(0, b"hello")])
        received = b""
        while not received.endswith(b"hello"):
            received = received[-4:] + await self.first.receive_some()
        assert not self.connection.is_over


class OneStep(trio.abc.Instrument):
    """Counts how many frames a connection takes between two checkpoints."""

    def __init__(self, multiplexer: Multiplexer) -> None:
        self.most = 0
        self._multiplexer = multiplexer
        self._before = multiplexer.frames

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - as inherited
        self._before = self._multiplexer.frames

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - as inherited
        self.most = max(self.most, self._multiplexer.frames - self._before)


@contextmanager
def steps_bounded(multiplexer: Multiplexer) -> Generator[None]:
    """Make sure that no flood holds up other tasks for more than some frames."""
    step = OneStep(multiplexer)
    trio.lowlevel.add_instrument(step)
    yield
    trio.lowlevel.remove_instrument(step)
    # One turn ends a wait, and the next one follows it.
    assert step.most < 2 * TURN


async def exchange_honestly(peers: Peers) -> None:
    content = Content(1, HONEST_BYTES)
    async with await peers.senders["direct"].open_stream("receiver") as stream:
        await exchange_content(stream, content, content)


@asynccontextmanager
async def open_attacked(
    handle: Handle = echo, credit: int = FIRST_CREDIT
) -> AsyncGenerator[Attacked]:
    """An attacker, whose attack is the block; others are served beside it and afterwards.

    Args:
        handle: what handlers do with the attacker's streams.
        credit: what the attacker gives on its first stream.
    """
    async with open_peers() as peers:
        await exchange_honestly_accepting(peers)
        before = await settled()
        async with (
            open_raw_connection(peers, Identity.generate()) as attacker,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(attacker.listen)
            await attacker.say(opening(0, credit))
            first = await peers.listener.accept()
            attacked = Attacked(peers, attacker, first.connection, first)
            serving = partial(attacked.handle, handle)
            nursery.start_soon(serve_streams, peers.listener, serving, None)
            with steps_bounded(attacked.multiplexer):
                async with trio.open_nursery() as at_once:
                    at_once.start_soon(exchange_honestly, peers)
                    yield attacked
            await exchange_honestly(peers)
            assert attacked.most_running <= DEFAULT_STREAMS
            attacked.connection.carrier.abort("the test is over")
            await until(lambda: attacker.is_over and not attacked.running)
            nursery.cancel_scope.cancel(reason="the test is over")
        first.abort()
        await until(lambda: not held_by(attacked.connection))
        await until_released(before)


async def exchange_honestly_accepting(peers: Peers) -> None:
    """Make the honest peer's connection, which stays."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange_honestly, peers)
        async with await peers.listener.accept() as accepted:
            await echo(accepted)


async def until_said(attacker: RawConnection, kind: int, count: int) -> None:
    """Wait until the receiver has said so many frames of a kind."""
    await until(lambda: attacker.said[kind] >= count)


async def until_released(before: Held) -> None:
    await until(lambda: held().tasks <= before.tasks and held().descriptors <= before.descriptors)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """Make sure that an attack leaves one line in the log, or none."""
    caplog.set_level(logging.INFO)
    yield
    records = caplog.get_records("call")
    assert not [record for record in records if record.exc_info]
    warnings = [record.message for record in records if record.levelno >= logging.WARNING]
    assert all("violated the protocol" in line for line in warnings)
    assert len(warnings) <= 1
    assert len(records) < 100  # those of the connections themselves


# Opening


async def test_opened_and_reset() -> None:
    async with open_attacked() as attacked:
        await attacked.open_streams(lambda number: [opening(number), reset(number)])
        await until(lambda: not attacked.running)
        assert attacked.most_running < DEFAULT_STREAMS
        assert attacked.multiplexer._table.theirs == 1
        await attacked.assert_stands()


async def test_opened_and_reset_without_waiting() -> None:
    async def hold(_stream: P2PStream) -> None:
        await may_end.wait()

    may_end = trio.Event()
    async with open_attacked(hold) as attacked:
        numbers = range(2, 2 * OPENED, 2)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await attacked.say(frame(each) for each in numbers for frame in (opening, reset))
        await until(lambda: attacked.connection.is_over)
        may_end.set()
        # A stream counts until its handler is done with it, whatever the peer has said.
        await attacked.assert_breaks("more streams than may be open")


async def test_unknown_protocols() -> None:
    async with open_attacked() as attacked:
        await attacked.open_streams(lambda number: [opening(number, protocol=f"{number:0128}")])
        assert attacked.attacker.resets == OPENED
        assert not attacked.most_running
        await attacked.assert_stands()


@pytest.mark.parametrize("extra", [0, 1])
async def test_all_streams_filled_and_not_read(extra: int) -> None:
    async with open_attacked(read_nothing) as attacked:
        sizes = {2 * count: first_credit(count) for count in range(1, DEFAULT_STREAMS)}
        for number, size in sizes.items():
            await attacked.attacker.say(opening(number, size), data(number, bytes(size)))
        await until(lambda: attacked.unread == sum(sizes.values()))
        assert attacked.unread <= reserved_memory(DEFAULT_STREAMS)
        await until(lambda: attacked.running == len(sizes))
        if extra:
            await attacked.say([data(2, b"x")])
            await attacked.assert_breaks("more bytes of stream 2 than it has credit")
        else:
            await attacked.say([opening(2 * DEFAULT_STREAMS)])
            await attacked.assert_breaks("more streams than may be open")


# Credit


@pytest.mark.parametrize("is_driven", [False, True], ids=["by its own task", "by a handler"])
async def test_useless_credit(is_driven: bool) -> None:
    """The task that receives gives way to others, whichever it is."""
    async with open_attacked() as attacked:
        if is_driven:
            await attacked.say([opening(2, FIRST_CREDIT)])
            for count in range(10):
                await attacked.say([data(2, b"x")])
                await until_said(attacked.attacker, DATA, count + 1)
        await attacked.say_all(credit_frame(0, limit % FIRST_CREDIT) for limit in range(MANY))
        await attacked.assert_stands()


async def test_credit_byte_by_byte() -> None:
    size, came = 500, bytearray()
    sent = bytes(number % 251 for number in range(2 * size))

    def take(frame: StreamFrame) -> None:
        if frame.kind == DATA:
            came.extend(frame.payload)

    async with open_attacked() as attacked:
        attacked.attacker.on_frame = take
        await attacked.say([opening(2, size), data(2, sent[:size])])
        await until(lambda: attacked.attacker.said[StreamFrameKind.CREDIT] > 0)
        await attacked.say([data(2, sent[size:])])
        await until(lambda: len(came) == size)
        for limit in range(size + 1, 2 * size + 1):
            await attacked.say([credit_frame(2, limit)])
        await until(lambda: len(came) == 2 * size)
        assert came == sent


async def test_no_credit() -> None:
    given = FIRST_CREDIT

    def take(frame: StreamFrame) -> None:
        nonlocal given
        if frame.kind == StreamFrameKind.CREDIT:
            given = int.from_bytes(frame.payload, "big")

    async with open_attacked() as attacked:
        attacked.attacker.on_frame = take
        await attacked.say([opening(2, given)])
        await until(lambda: attacked.running == 1)
        state, sent = attacked.multiplexer._table.streams[2], 0
        while state.room >= MIN_ROOM_BYTES or attacked.unread < OUTBOX_BYTES:
            piece = bytes(min(given - sent, PIECE_BYTES))
            await attacked.say_all([data(2, piece)])
            sent += len(piece)
        assert state.sent == FIRST_CREDIT
        assert attacked.unread <= 4 * FIRST_CREDIT  # it is no path that is long


async def test_credit_beyond_all_limits() -> None:
    async with open_attacked() as attacked:
        await attacked.say_all([credit_frame(0, MAX_OFFSET)])
        await attacked.assert_stands()
        await attacked.say([credit_frame(0, MAX_OFFSET + 1)])
        await attacked.assert_breaks("a credit that no stream can use")


# Bytes


async def test_bytes_behind_reset() -> None:
    async with open_attacked() as attacked:
        await attacked.say([opening(2), reset(2)])
        await until(lambda: attacked.attacker.finished == 1)
        await attacked.say_all(itertools.repeat(data(2, b"long over"), MANY // 2))
        assert not attacked.unread
        await attacked.assert_stands()


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (data(2, b"x"), "bytes behind the end of stream 2"),
        (data(2, b"", EOF_FLAG), "two ends of stream 2"),
        (data(4, b"x"), "stream 4, which was not opened"),
        (data(1, b"x"), "stream 1, which was not opened"),
        (reset(MAX_STREAM_NUMBER), f"stream {MAX_STREAM_NUMBER}, which was not opened"),
    ],
)
async def test_bytes_where_none_may_come(frame: bytes, error: str) -> None:
    async with open_attacked(read_nothing) as attacked:
        await attacked.say([opening(2, 1), data(2, b"", EOF_FLAG)])
        await until(lambda: attacked.running == 1)
        await attacked.say([frame])
        await attacked.assert_breaks(error)


@pytest.mark.parametrize("size", [1, 3])
async def test_tiny_pieces_for_a_slow_reader(size: int) -> None:
    came, may_read = bytearray(), trio.Event()

    async def read_slowly(stream: P2PStream) -> None:
        await may_read.wait()
        while piece := await stream.receive_some(1000):
            came.extend(piece)

    async with open_attacked(read_slowly) as attacked:
        count = MANY // size
        pieces = [number.to_bytes(size, "big") if size > 1 else b"x" for number in range(count)]
        await attacked.say_all([opening(2, FIRST_CREDIT), *(data(2, each) for each in pieces)])
        assert attacked.unread == count * size
        inbox = attacked.multiplexer._table.streams[2]._inbox
        assert inbox is not None
        assert inbox._queue is not None
        assert len(inbox._queue._pieces) <= 1 + count * size // SCRATCH_BYTES
        may_read.set()
        await attacked.say([data(2, b"", EOF_FLAG)])
        await until(lambda: not attacked.running)
        assert came == b"".join(pieces)


# The session


async def test_nothing_is_acknowledged() -> None:
    async def flood(stream: P2PStream) -> None:
        while True:
            await stream.send_all(bytes(OUTBOX_BYTES))

    async with open_attacked(flood) as attacked:
        attacked.attacker.acknowledges = False
        await attacked.say([opening(number, MAX_OFFSET) for number in range(2, 22, 2)])
        outgoing = attacked.connection.carrier.session.outgoing
        await until(lambda: outgoing.room < OUTBOX_BYTES)
        await attacked.say_all([credit_frame(0, 1)])
        assert outgoing.taken - outgoing.acked <= DEFAULT_WINDOW


async def test_acknowledgement_of_what_was_not_sent() -> None:
    async with open_attacked() as attacked:
        await attacked.attacker.send(header(Kind.ACK, MIB))
        await attacked.assert_breaks("acknowledgement of what was not sent")


async def test_questions() -> None:
    async with open_attacked() as attacked:
        for _ in range(MANY // 5 // BURST):
            await attacked.attacker.send(header(Kind.PING, 0) * BURST)
        await attacked.assert_stands()


async def test_flood_that_is_left_when_the_path_is_lost() -> None:
    async with (
        open_peers() as peers,
        open_raw_connection(peers, Identity.generate()) as attacker,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(attacker.listen)
        await attacker.say(opening(0))
        async with await peers.listener.accept() as accepted:
            await until(lambda: attacker.said[STREAMS] == 1)
            multiplexer = accepted.connection._streams._multiplexer
            worker = accepted.connection.carrier._worker
            assert worker is not None
            flood = data(0, b"") * (MIB // HEADER_BYTES)
            pieces = [flood[at : at + FLOOD_BYTES] for at in range(0, len(flood), FLOOD_BYTES)]
            offsets = itertools.count(attacker.sent, FLOOD_BYTES)
            frames = [header(Kind.DATA, next(offsets), len(each)) + each for each in pieces]
            attacker.path.start_sending(frames)
            before = multiplexer.frames
            worker.broke(trio.BrokenResourceError("it was reset"))
            assert before < multiplexer.frames <= before + LAST_TURNS * TURN
            accepted.abort()
        nursery.cancel_scope.cancel(reason="the test is over")


# What is said of no stream, and of ends


async def test_limits_of_streams() -> None:
    async with open_attacked() as attacked:
        limits = itertools.cycle([0, 1, MAX_STREAM_NUMBER, EARLY_STREAMS, MAX_STREAMS])
        await attacked.say_all(
            stream_header(STREAMS, limit) for limit in itertools.islice(limits, MANY)
        )
        assert EARLY_STREAMS <= attacked.multiplexer._table._limit <= MAX_STREAMS
        await attacked.assert_stands()


async def test_repeated_goaway() -> None:
    async with open_attacked(read_nothing) as attacked:
        await attacked.say_all([opening(2 * number) for number in range(1, 1000)])
        own = await attacked.connection.open_stream()
        await attacked.say_all(
            stream_header(GOAWAY, MAX_STREAM_NUMBER - number) for number in range(MANY)
        )
        await attacked.say_all([stream_header(GOAWAY, 0)])
        assert not own.is_over  # it was said once
        with pytest.raises(trio.BrokenResourceError):
            await attacked.connection.open_stream()
        own.abort()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await attacked.say([opening(number) for number in range(2000, 2 * OPENED, 2)])
        await attacked.assert_breaks("more streams than may be open")


async def test_repeated_stop() -> None:
    async with open_attacked() as attacked:
        await attacked.say([opening(2, FIRST_CREDIT), data(2, b"x")])
        await attacked.say_all(itertools.repeat(data(2, b"", STOP_FLAG), MANY))
        await attacked.say([data(2, b"", EOF_FLAG)])
        await until(lambda: attacked.attacker.finished == 1)
        await attacked.assert_stands()


# Memory


def resident_bytes(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise AssertionError


async def test_memory_of_the_attacked_process() -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "tests.kit.attacked_receiver", str(broker.port)],
                stdout=subprocess.PIPE,
            )
        )
        assert process.stdout is not None
        await process.stdout.receive_some()
        async with (
            open_raw_connection(broker, Identity.generate()) as attacker,
            trio.open_nursery() as listening,
        ):
            listening.start_soon(attacker.listen)
            await attacker.say(opening(0))
            await until(lambda: attacker.said[STREAMS] == 1)
            before = resident_bytes(process.pid, "VmRSS")
            for number in range(1, OPENED):
                await attacker.say(opening(2 * number, protocol=f"{number:0128}"))
                await until_said(attacker, RESET, number - UNANSWERED)
            await until(lambda: attacker.resets == OPENED - 1)
            first = 2 * OPENED
            for count in range(1, DEFAULT_STREAMS):
                size, number = first_credit(count), first + 2 * count
                await attacker.say(opening(number, size), data(number, bytes(size)))
            for _ in range(MANY // BURST):
                await attacker.say(credit_frame(first + 2, 1) * BURST)
            await attacker.say(opening(3 * first, protocol="last"))
            grown = resident_bytes(process.pid, "VmHWM") - before
            listening.cancel_scope.cancel(reason="all is measured")
        bound = reserved_memory(DEFAULT_STREAMS) + DEFAULT_STREAMS * TASK_BYTES + 4 * MIB
        assert reserved_memory(DEFAULT_STREAMS) // 2 < grown < bound
        nursery.cancel_scope.cancel(reason="the test is over")
