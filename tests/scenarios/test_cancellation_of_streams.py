"""Cancellation at every checkpoint of what uses a connection: nothing is lost, and no other hurt.

All runs of a scenario share one connection, which carries other streams meanwhile. What comes out
of a cancelled call is Cancelled, and nothing is left of the call.
"""

import itertools
import pathlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import P2PConnection, P2PListener, P2PStream, open_peer
from trio_p2p._listen import introductions
from trio_p2p._stream.credit import EARLY_STREAMS, FIRST_CREDIT
from trio_p2p._stream.multiplexer import Multiplexer
from trio_p2p._traversal import shared_port

from ..kit.connections import Connected, busy, held_by, open_connected, part_of
from ..kit.every_step import MIN_STEPS, Canceller, Scenario, at_every_checkpoint
from ..kit.loopback import held, settled, until

pytestmark = pytest.mark.once

T = TypeVar("T")

SMALL = part_of(1, 0, 1000)
LARGE = part_of(2, 0, 2**20) * 3  # more than what fits into a stream that is not read
UNREAD = LARGE[: FIRST_CREDIT + FIRST_CREDIT // 2]  # fits, but not all of it can leave
PIECES = 5
PIECE_BYTES = 65_536
END = b"the end"

# What changes at any time as long as other streams have something to say.
PASSING = {"not looked at", "touched", "closed", "control", "data"} | {
    "memory by which streams have grown"
}

# Seconds that a receiver spends on a sender that was cancelled.
SHORT_TIME = 1.0

WAYS = pytest.mark.parametrize("way", ["direct", "busy direct", "busy relay"])
BUSY_WAYS = pytest.mark.parametrize("way", ["busy direct", "busy relay"])


@attrs.frozen
class Opening:
    """How one side of a connection opens streams, and the other one accepts them."""

    connection: P2PConnection
    open: Callable[[], Awaitable[P2PStream]]
    accept: Callable[[], Awaitable[P2PStream]]

    @property
    def multiplexer(self) -> Multiplexer:
        return self.connection._streams._multiplexer

    async def open_pair(self) -> tuple[P2PStream, P2PStream]:
        return await self.open(), await self.accept()


@attrs.frozen
class Loaded:
    """A connection beside whose other streams something is cancelled.

    Attributes:
        connected: the connection.
        neighbours: both ends of a stream that is used after each run.
    """

    connected: Connected
    neighbours: tuple[P2PStream, P2PStream]

    @property
    def openings(self) -> list[Opening]:
        """How either side opens streams."""
        opener, acceptor = self.connected.opener, self.connected.acceptor
        return [
            Opening(opener, opener.open_stream, self.connected.listener.accept),
            Opening(acceptor, acceptor.open_stream, opener.accept),
        ]

    async def cancel_everywhere(
        self, scenario: Callable[[Opening, Canceller], Awaitable[None]], min_steps: int = 1
    ) -> None:
        """Cancel a scenario at each checkpoint, with streams that either side opens."""
        for opening in self.openings:
            await self.cancel_at_every_checkpoint(partial(scenario, opening), min_steps)

    async def cancel_at_every_checkpoint(self, scenario: Scenario, min_steps: int = 1) -> None:
        """Cancel a scenario at each checkpoint, and see that no other stream is hurt."""

        async def run(canceller: Canceller) -> None:
            await scenario(canceller)
            await greet(*self.neighbours)

        await at_every_checkpoint(run, self.holding, min_steps)

    async def cancel_at_every_stage(self, scenario: Scenario) -> None:
        """Cancel a scenario at each step of whatever works for it, also beside it."""

        async def run(canceller: Canceller) -> None:
            canceller.counts_all_new = True
            await scenario(canceller)
            await greet(*self.neighbours)

        # The caller sleeps nearly all of the time.
        await at_every_checkpoint(run, self.holding_of_connections, MIN_STEPS, moments=[False])

    def holding(self) -> object:
        """What is held of calls, connections and streams, here and at the other side."""
        return held_sockets_and_tasks(), self.holding_of_connections()

    def holding_of_connections(self) -> object:
        connected = self.connected
        return (
            lasting(connected.opener),
            lasting(connected.acceptor),
            attrs.evolve(connected.sender.statistics(), strangers=0),
            attrs.evolve(connected.receiver.statistics(), strangers=0),
            connected.listener.statistics().waiting,
        )


def held_sockets_and_tasks() -> tuple[int, int]:
    """Without the pipes of the broker's relay, which it takes and keeps as it needs them."""
    sockets = 0
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # what reads the directory itself
            sockets += entry.readlink().name.startswith("socket:")
    return sockets, held().tasks


def lasting(connection: P2PConnection) -> dict[str, object]:
    """How much a connection holds of its streams, but for what is only passing."""
    return {
        what: len(value) if isinstance(value, Sized) else value
        for what, value in held_by(connection).items()
        if what not in PASSING
    }


@asynccontextmanager
async def open_loaded(way: str, **options: int) -> AsyncGenerator[Loaded]:
    """A connection whose other streams are busy, or not."""
    async with open_connected(way.removeprefix("busy "), **options) as connected:
        async with AsyncExitStack() as stack:
            neighbours = await connected.open_pair()
            if way.startswith("busy "):
                await stack.enter_async_context(busy(connected))
            await settled()
            yield Loaded(connected, neighbours)
        for end in neighbours:
            end.abort()
        await connected.wait_empty()


async def run_cancelled(canceller: Canceller, party: Callable[[], Awaitable[T]]) -> list[T]:
    """What a call returns; nothing if it was cancelled, and Cancelled came out of it."""
    returned: list[T] = []

    async def run() -> None:
        returned.append(await party())

    # A task of its own, so that its steps can be told from ours.
    async with trio.open_nursery() as nursery:  # noqa: ASYNC112
        nursery.start_soon(canceller.run, run)
    assert canceller.scope.cancelled_caught is not bool(returned)
    assert canceller.has_struck or returned
    return returned


def number_of(stream: P2PStream) -> int:
    return stream._state.number


async def greet(one: P2PStream, other: P2PStream) -> None:
    """See that what is sent at either end of a stream comes to the other one."""
    for source, target in ((one, other), (other, one)):
        await source.send_all(SMALL)
        assert await read(target, len(SMALL)) == SMALL


async def read(stream: P2PStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        data = await stream.receive_some(count - len(received))
        assert data
        received += data
    return received


async def close(*ends: P2PStream) -> None:
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.aclose)


async def greet_and_close(opened: P2PStream, accepted: P2PStream) -> None:
    """See that these are both ends of one stream, and close them."""
    await greet(opened, accepted)
    assert number_of(opened) == number_of(accepted)
    await close(opened, accepted)


# Opening and accepting


@BUSY_WAYS
async def test_open_stream(way: str) -> None:
    async def scenario(opening: Opening, canceller: Canceller) -> None:
        number = opening.multiplexer._table.next_number
        opened = await run_cancelled(canceller, opening.open)
        stream = opened[0] if opened else await opening.open()
        assert number_of(stream) == number  # if cancelled, no other one was opened
        await greet_and_close(stream, await opening.accept())

    async with open_loaded(way) as loaded:
        await loaded.cancel_everywhere(scenario)


async def cancel_waiting(loaded: Loaded, opening: Opening) -> None:
    """Two tasks wait until they may open a stream, of which one is cancelled: the other one may."""

    async def fill() -> None:
        while opening.multiplexer.may_open:
            pairs.append(await opening.open_pair())

    async def scenario(canceller: Canceller) -> None:
        async def open_other() -> None:
            opened.append(await opening.open())

        async def end_some_when_both_wait() -> None:
            waiting = opening.connection._streams._may_open
            await until(lambda: len(waiting) == 2 - canceller.ended.is_set())
            await close(*pairs.pop(0))
            await until(lambda: len(waiting) <= 1)
            await close(*pairs.pop(0))

        opened: list[P2PStream] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_some_when_both_wait)
            nursery.start_soon(open_other)
            opened += await run_cancelled(canceller, opening.open)
        for stream in sorted(opened, key=number_of):
            pairs.append((stream, await opening.accept()))
            await greet(*pairs[-1])
        await fill()

    pairs: list[tuple[P2PStream, P2PStream]] = []
    await fill()
    await loaded.cancel_at_every_checkpoint(scenario, min_steps=2)
    for pair in pairs:
        await close(*pair)


@BUSY_WAYS
async def test_open_stream_that_waits_for_another_one_to_end(way: str) -> None:
    async with open_loaded(way, max_streams=EARLY_STREAMS) as loaded:
        for opening in loaded.openings:
            await cancel_waiting(loaded, opening)


@BUSY_WAYS
async def test_accept(way: str) -> None:
    """Two tasks accept, of which one is cancelled: no stream is lost."""

    async def scenario(opening: Opening, canceller: Canceller) -> None:
        async def accept() -> None:
            accepted.append(await opening.accept())

        async def open_both() -> None:
            opened.extend([await opening.open(), await opening.open()])

        opened: list[P2PStream] = []
        accepted: list[P2PStream] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            nursery.start_soon(open_both)
            ours = await run_cancelled(canceller, opening.accept)
            accepted += ours or [await opening.accept()]
        accepted.sort(key=number_of)
        for pair in zip(opened, accepted, strict=True):
            await greet_and_close(*pair)

    async with open_loaded(way) as loaded:
        await loaded.cancel_everywhere(scenario)


# Using a stream


@WAYS
async def test_send_all(way: str) -> None:
    async def scenario(data: bytes, opening: Opening, canceller: Canceller) -> None:
        async def receive() -> None:
            state = ours._state  # nothing is read before there is no more room
            await until(lambda: canceller.ended.is_set() or not (state.room or state.has_data))
            while piece := await theirs.receive_some(PIECE_BYTES):
                received.extend(piece)

        ours, theirs = await opening.open_pair()
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await run_cancelled(canceller, partial(ours.send_all, data))
            await ours.send_all(END)  # it is of use nevertheless
            await ours.send_eof()
        assert received.endswith(END)
        taken = received.removesuffix(END)
        assert data.startswith(taken)
        assert canceller.scope.cancelled_caught or taken == data
        await greet_back_and_close(ours, theirs)

    async with open_loaded(way) as loaded:
        await loaded.cancel_everywhere(partial(scenario, SMALL))
        await loaded.cancel_everywhere(partial(scenario, LARGE), min_steps=3)


async def greet_back_and_close(ours: P2PStream, theirs: P2PStream) -> None:
    """See that the other direction is of use when one has ended, and close the stream."""
    await theirs.send_all(SMALL)
    assert await read(ours, len(SMALL)) == SMALL
    assert await theirs.receive_some() == b""
    await close(ours, theirs)


@WAYS
async def test_receive_some(way: str) -> None:
    async def scenario(opening: Opening, canceller: Canceller) -> None:
        async def receive() -> None:
            while data := await ours.receive_some():
                received.extend(data)

        async def send() -> None:
            for number in range(PIECES):
                await trio.testing.wait_all_tasks_blocked()
                await theirs.send_all(part_of(3, number * len(SMALL), len(SMALL)))
            await theirs.send_all(UNREAD)
            await theirs.send_eof()

        ours, theirs = await opening.open_pair()
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await run_cancelled(canceller, receive)
            await receive()
        assert received == part_of(3, 0, PIECES * len(SMALL)) + UNREAD
        await close(ours, theirs)

    async with open_loaded(way) as loaded:
        await loaded.cancel_everywhere(scenario, min_steps=PIECES)


@BUSY_WAYS
async def test_send_eof(way: str) -> None:
    async def scenario(opening: Opening, canceller: Canceller) -> None:
        ours, theirs = await opening.open_pair()
        await ours.send_all(SMALL)
        expected = SMALL
        if not await run_cancelled(canceller, ours.send_eof):
            await ours.send_all(END)  # the direction has not ended
            expected += END
        await ours.send_eof()
        assert await read(theirs, len(expected)) == expected
        await greet_back_and_close(ours, theirs)

    async with open_loaded(way) as loaded:
        await loaded.cancel_everywhere(scenario)


@WAYS
async def test_aclose(way: str) -> None:
    """Two tasks close the stream, of which one is cancelled: it is closed all the same."""

    async def scenario(
        data: bytes, is_shared: bool, opening: Opening, canceller: Canceller
    ) -> None:
        async def receive() -> None:
            asked = ours.connection._streams._asked
            await until(lambda: canceller.ended.is_set() or ours._state in asked)
            assert b"".join([piece async for piece in theirs]) == data  # and a clean end
            await theirs.aclose()

        ours, theirs = await opening.open_pair()
        await ours.send_all(data)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            if is_shared:
                nursery.start_soon(ours.aclose)
            await run_cancelled(canceller, ours.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(data)
            with pytest.raises(trio.ClosedResourceError):
                await ours.receive_some()
        await ours.aclose()

    async with open_loaded(way) as loaded:
        for data, is_shared in itertools.product([SMALL, UNREAD], [False, True]):
            await loaded.cancel_everywhere(partial(scenario, data, is_shared))


@BUSY_WAYS
async def test_connection_aclose(way: str) -> None:
    """Another connection between the same peers is closed, which takes one kind of path only."""

    async def scenario(canceller: Canceller) -> None:
        connection = await sender.connect("receiver", path=path)
        opened = [await connection.open_stream() for _ in range(2)]
        accepted = [await connected.listener.accept() for _ in opened]
        await accepted[1].send_all(SMALL)
        await opened[0].send_all(UNREAD)
        opened[0].begin_closing()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, accepted[0])
            await run_cancelled(canceller, connection.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await connection.open_stream()
            with pytest.raises(trio.ClosedResourceError):
                await opened[1].send_all(SMALL)
        with pytest.raises(trio.BrokenResourceError):
            await accepted[1].receive_some()
        await close(*accepted)

    async def receive(stream: P2PStream) -> None:
        assert b"".join([piece async for piece in stream]) == UNREAD

    path = way.removeprefix("busy ")
    async with open_loaded(way) as loaded:
        connected = loaded.connected
        sender = connected.sender
        await loaded.cancel_at_every_checkpoint(scenario)


# Connecting


@asynccontextmanager
async def open_other(loaded: Loaded) -> AsyncGenerator[P2PListener[P2PStream]]:
    """Another receiver, to which the sender has no connection; in the end nothing is left of any.

    A receiver cannot know that its sender was cancelled, and tries for some time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(introductions, "INTRODUCTION_TIME", SHORT_TIME)
        patch.setattr(shared_port, "PROOF_TIME", SHORT_TIME)
        async with (
            open_peer(loaded.connected.broker.address) as peer,
            peer.listen("other") as listener,
        ):
            await settled()
            before = held_sockets_and_tasks()
            yield listener
            with suppress(trio.TooSlowError):
                await until(lambda: held_sockets_and_tasks() == before)
            assert held_sockets_and_tasks() == before


@pytest.mark.slow
@BUSY_WAYS
async def test_connect(way: str) -> None:
    async def scenario(canceller: Canceller) -> None:
        for connection in await run_cancelled(canceller, partial(sender.connect, "other")):
            stream = await connection.open_stream()
            await greet_and_close(stream, await listener.accept())
            await connection.aclose()

    async with open_loaded(way) as loaded, open_other(loaded) as listener:
        sender = loaded.connected.sender
        await loaded.cancel_at_every_stage(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["busy relay"])
async def test_open_first_stream(way: str) -> None:
    async def scenario(canceller: Canceller) -> None:
        for stream in await run_cancelled(canceller, partial(sender.open_stream, "other")):
            await greet_and_close(stream, await listener.accept())
            await stream.connection.aclose()

    async with open_loaded(way) as loaded, open_other(loaded) as listener:
        sender = loaded.connected.sender
        await loaded.cancel_at_every_stage(scenario)


@pytest.mark.slow
@BUSY_WAYS
async def test_open_first_stream_that_other_tasks_open_too(way: str) -> None:
    """Three tasks wait for one connection, of which one is cancelled: the others get it."""

    async def scenario(canceller: Canceller) -> None:
        async def open_shared() -> None:
            opened.append(await sender.open_stream("other"))

        opened: list[P2PStream] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_shared)
            nursery.start_soon(open_shared)
            opened += await run_cancelled(canceller, partial(sender.open_stream, "other"))
        for stream in sorted(opened, key=number_of):
            await greet_and_close(stream, await listener.accept())
        [connection] = {stream.connection for stream in opened}
        await connection.aclose()

    async with open_loaded(way) as loaded, open_other(loaded) as listener:
        sender = loaded.connected.sender
        await loaded.cancel_at_every_stage(scenario)
