"""Cancellation at every step of receiver, sender and broker: nothing leaks, nobody else is hurt.

A scenario is run again and again. In the k-th run the party under test is cancelled when one of its
tasks is about to take the k-th step, until the scenario gets through without being cancelled. What
is left of a stream is of use, has ended or is broken; what came over it is what was sent.
"""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
from trio.abc import HalfCloseableStream

from trio_p2p import Outcome, P2PError, P2PStream, PathKind, Peer, open_peer
from trio_p2p._broker.server import Broker
from trio_p2p._connect import rounds
from trio_p2p._connect.rounds import Round
from trio_p2p._control.control import Control
from trio_p2p._peer_connection import PeerConnection

from ..kit.every_step import Canceller, at_every_step
from ..kit.loopback import (
    ANY_WAY,
    HOST,
    RAW_WAYS,
    SESSION_WAYS,
    LoopbackBroker,
    Way,
    open_broker,
    until,
)

pytestmark = [pytest.mark.once, pytest.mark.slow]

GRACE = 0.2  # seconds that a session waits, if who was cancelled could not say farewell

SWITCHING = attrs.evolve(ANY_WAY, grace=GRACE)
WAYS = [*RAW_WAYS, *(attrs.evolve(way, grace=GRACE) for way in SESSION_WAYS), SWITCHING]
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=str)


# More than what may be sent before the other side has been heard of, and than kernels hold.
MUCH = random.Random("much").randbytes(3_000_000)
DATA = MUCH[:50_000]


@pytest.fixture(autouse=True)
def watch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let senders watch their receivers in these tests, short as their streams are."""
    monkeypatch.setattr("trio_p2p._connect.path_finder.WATCHING_DELAY", 0.0)


@asynccontextmanager
async def open_broker_with_nothing_left() -> AsyncGenerator[LoopbackBroker]:
    """A broker of which nothing is asked any more in the end, and that then holds nothing."""
    async with open_broker() as broker:
        yield broker
        await until(lambda: not broker.broker._links)
        assert_nothing_left(broker.broker)


def assert_nothing_left(broker: Broker) -> None:
    assert broker.registry.uids == frozenset()
    assert broker.registry.pending_introductions == 0
    assert broker.registry.circuits == 0
    assert broker.registry.watches == 0
    assert broker._links == {}


def check(received: bytes, canceller: Canceller) -> None:
    """What came before the end is right; all of it, if nobody was cancelled."""
    assert received == DATA or (canceller.has_struck and DATA.startswith(received))


async def use(stream: HalfCloseableStream, canceller: Canceller) -> None:
    """Send something, and wait for all that comes: nobody may leave us waiting for ever."""
    with suppress(trio.BrokenResourceError):
        async with stream:
            await stream.send_all(DATA)
            await stream.send_eof()
            received = b"".join([piece async for piece in stream])
            check(received, canceller)


async def reply(stream: HalfCloseableStream, canceller: Canceller) -> None:
    """What :func:`use` expects of the other end."""
    received = b""
    with suppress(trio.BrokenResourceError):
        async with stream:
            async for piece in stream:
                received += piece
                assert DATA.startswith(received)
                await stream.send_all(piece)
            check(received, canceller)
            await stream.send_eof()


async def send(broker: tuple[str, int], way: Way, canceller: Canceller) -> None:
    """A sender, to whom it may happen that its receiver or broker goes away."""
    with suppress(P2PError):
        async with way.open_stream("receiver", broker) as stream:
            await use(stream, canceller)


@asynccontextmanager
async def open_receiver(
    broker: LoopbackBroker, way: Way, canceller: Canceller
) -> AsyncGenerator[None]:
    """A receiver whose handlers have to end by themselves when the senders have gone."""

    async def accept() -> None:
        with suppress(trio.ClosedResourceError):
            while True:
                handlers.start_soon(reply, await listener.accept(), canceller)

    async with (
        way.open_listener("receiver", broker.address) as listener,
        trio.open_nursery() as handlers,
    ):
        handlers.start_soon(accept)
        yield
        await listener.aclose()


@EVERY_WAY
async def test_receiver(way: Way) -> None:
    async def scenario(canceller: Canceller) -> None:
        async def receive() -> None:
            async with way.open_listener("receiver", broker.address) as listener:
                registered.set()
                async with await listener.accept() as stream:
                    await listener.aclose()
                    await reply(stream, canceller)

        async def send_while_there_is_a_receiver() -> None:
            await registered.wait()
            with suppress(P2PError):
                stream = await way.open_stream_of(sender, "receiver")
                # Without a checkpoint, so that we are not cancelled.
                streams.start_soon(use, stream, canceller)

        registered = trio.Event()
        async with (
            open_broker_with_nothing_left() as broker,
            way.open_peer(broker.address) as sender,
            trio.open_nursery() as streams,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(canceller.run, receive)
            nursery.start_soon(send_while_there_is_a_receiver)
            await canceller.ended.wait()
            nursery.cancel_scope.cancel(reason="the receiver has gone")

    await at_every_step(scenario)


@EVERY_WAY
async def test_accept_loses_no_stream(way: Way) -> None:
    async def scenario(canceller: Canceller) -> None:
        async with (
            open_broker_with_nothing_left() as broker,
            way.open_listener("receiver", broker.address) as listener,
        ):
            accepted: list[HalfCloseableStream] = []

            async def accept() -> None:
                accepted.append(await listener.accept())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(canceller.run, accept)
                nursery.start_soon(send, broker.address, way, canceller)
                await canceller.ended.wait()
                stream = accepted[0] if accepted else await listener.accept()
                await reply(stream, canceller)
        assert canceller.scope.cancelled_caught is not bool(accepted)

    await at_every_step(scenario, min_steps=1)


@EVERY_WAY
async def test_open_p2p_stream(way: Way) -> None:
    async def scenario(canceller: Canceller) -> None:
        async def open_and_use() -> None:
            async with way.open_stream("receiver", broker.address) as stream:
                await use(stream, canceller)

        # A task of its own, so that its steps can be told from ours.
        async with (
            open_broker_with_nothing_left() as broker,
            open_receiver(broker, way, canceller),
            trio.open_nursery() as nursery,  # noqa: ASYNC112
        ):
            nursery.start_soon(canceller.run, open_and_use)

    await at_every_step(scenario)


@EVERY_WAY
async def test_open_peer(way: Way) -> None:
    async def scenario(canceller: Canceller) -> None:
        async def open_and_use() -> None:
            async with way.open_peer(broker.address) as sender:
                for _ in range(2):
                    stream = await way.open_stream_of(sender, "receiver")
                    await use(stream, canceller)

        # A task of its own, so that its steps can be told from ours.
        async with (
            open_broker_with_nothing_left() as broker,
            open_receiver(broker, way, canceller),
            trio.open_nursery() as nursery,  # noqa: ASYNC112
        ):
            nursery.start_soon(canceller.run, open_and_use)

    await at_every_step(scenario)


@EVERY_WAY
async def test_broker(way: Way) -> None:
    async def scenario(canceller: Canceller) -> None:
        broker = Broker()

        async def serve() -> None:
            listeners = await trio.open_tcp_listeners(0, host=HOST)
            address.append(listeners[0].socket.getsockname()[:2])
            listening.set()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(broker.serve_listeners, listeners)
                    await exchanged.wait()
                    await until(lambda: not broker._links)
                    scope.cancel(reason="the clients have gone")

        async def receive(*, task_status: trio.TaskStatus[None]) -> None:
            with suppress(P2PError):
                async with way.open_listener("receiver", address[0]) as listener:
                    task_status.started()
                    await reply(await listener.accept(), canceller)
                    return
            task_status.started()

        async def have_clients() -> None:
            await listening.wait()
            async with trio.open_nursery() as nursery:
                await nursery.start(receive)
                await send(address[0], way, canceller)
            exchanged.set()

        address: list[tuple[str, int]] = []
        listening, exchanged = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(canceller.run, serve)
            nursery.start_soon(have_clients)
            await canceller.ended.wait()
            nursery.cancel_scope.cancel(reason="the broker has gone")
        assert_nothing_left(broker)

    await at_every_step(scenario)


# While a stream moves from the relay to a direct path


@asynccontextmanager
async def open_switching_sender(
    broker: tuple[str, int],
) -> AsyncGenerator[tuple[Peer, trio.Event]]:
    """A sender that finds a direct path only when an event says so, and not before."""

    async def open_in_round(control: Control, round_: Round) -> PeerConnection | Outcome:
        await may_be_direct.wait()
        return await open_at_once(control, round_)

    may_be_direct, open_at_once = trio.Event(), rounds._open
    async with open_peer(broker, grace=GRACE) as sender:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounds, "_open", open_in_round)
            yield sender, may_be_direct


async def wait_direct(stream: P2PStream) -> None:
    while stream.path is None or stream.path.kind is not PathKind.DIRECT:
        await stream.wait_path_changed(stream.path)


async def use_and_switch(
    stream: P2PStream, may_be_direct: trio.Event, canceller: Canceller
) -> None:
    """Like :func:`use`, with the switch in between."""

    async def send() -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(DATA[:10_000])
            may_be_direct.set()
            await stream.send_all(DATA[10_000:])
            await wait_direct(stream)
            await stream.send_eof()

    async def receive() -> None:
        with suppress(trio.BrokenResourceError):
            check(b"".join([piece async for piece in stream]), canceller)

    with suppress(trio.BrokenResourceError):
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)


async def test_sender_during_a_switch() -> None:
    async def scenario(canceller: Canceller) -> None:
        async def open_and_use() -> None:
            async with open_switching_sender(broker.address) as (sender, may_be_direct):
                stream = await sender.open_stream("receiver")
                await use_and_switch(stream, may_be_direct, canceller)

        async with (
            open_broker_with_nothing_left() as broker,
            open_receiver(broker, SWITCHING, canceller),
            trio.open_nursery() as nursery,  # noqa: ASYNC112
        ):
            nursery.start_soon(canceller.run, open_and_use)

    await at_every_step(scenario)


async def test_receiver_during_a_switch() -> None:
    async def scenario(canceller: Canceller) -> None:
        async def receive() -> None:
            async with SWITCHING.open_listener("receiver", broker.address) as listener:
                registered.set()
                await reply(await listener.accept(), canceller)

        async def send_while_there_is_a_receiver() -> None:
            await registered.wait()
            with suppress(P2PError):
                stream = await sender.open_stream("receiver")
                streams.start_soon(use_and_switch, stream, may_be_direct, canceller)

        registered = trio.Event()
        async with (
            open_broker_with_nothing_left() as broker,
            open_switching_sender(broker.address) as (sender, may_be_direct),
            trio.open_nursery() as streams,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(canceller.run, receive)
            nursery.start_soon(send_while_there_is_a_receiver)
            await canceller.ended.wait()
            nursery.cancel_scope.cancel(reason="the receiver has gone")

    await at_every_step(scenario)


@asynccontextmanager
async def open_switching_pair(
    first: str,
) -> AsyncGenerator[tuple[P2PStream, P2PStream, trio.Event]]:
    """The two ends of a stream on the relay, the opener's or the acceptor's first."""
    async with (
        open_broker_with_nothing_left() as broker,
        SWITCHING.open_listener("receiver", broker.address) as listener,
        open_switching_sender(broker.address) as (sender, may_be_direct),
    ):
        opened, accepted = await sender.open_stream("receiver"), await listener.accept()
        if first == "opener":
            yield opened, accepted, may_be_direct
        else:
            yield accepted, opened, may_be_direct


BOTH_ENDS = pytest.mark.parametrize("end", ["opener", "acceptor"])


@BOTH_ENDS
async def test_cancelled_sending_leaves_a_stream_of_use(end: str) -> None:
    async def scenario(canceller: Canceller) -> None:
        received = bytearray()

        async def receive() -> None:
            async for piece in theirs:
                received.extend(piece)
                may_be_direct.set()

        async with open_switching_pair(end) as (ours, theirs, may_be_direct):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                nursery.start_soon(canceller.run, partial(ours.send_all, MUCH))
                await canceller.ended.wait()
                await ours.send_all(b"the end")
                await ours.send_eof()
            assert received.endswith(b"the end")
            sent = received.removesuffix(b"the end")
            assert MUCH.startswith(sent)
            assert canceller.scope.cancelled_caught or len(sent) == len(MUCH)

    await at_every_step(scenario, min_steps=3)


@BOTH_ENDS
async def test_cancelled_receiving_loses_nothing(end: str) -> None:
    async def scenario(canceller: Canceller) -> None:
        received = bytearray()

        async def receive() -> None:
            async for piece in ours:
                received.extend(piece)
                may_be_direct.set()

        async def send() -> None:
            await theirs.send_all(MUCH)
            await theirs.send_eof()

        async with open_switching_pair(end) as (ours, theirs, may_be_direct):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(canceller.run, receive)
                await canceller.ended.wait()
                await receive()
            assert received == MUCH

    await at_every_step(scenario, min_steps=3)


@BOTH_ENDS
async def test_cancelled_closing_tells_the_other_side(end: str) -> None:
    async def scenario(canceller: Canceller) -> None:
        received = bytearray()

        async def receive() -> None:
            try:
                async for piece in theirs:
                    received.extend(piece)
                    may_be_direct.set()
            except trio.BrokenResourceError:
                assert canceller.scope.cancelled_caught
                assert DATA.startswith(received)
            else:
                assert received == DATA

        async with open_switching_pair(end) as (ours, theirs, may_be_direct):
            await ours.send_all(DATA)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                nursery.start_soon(canceller.run, ours.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(b"more")

    await at_every_step(scenario, min_steps=2)
