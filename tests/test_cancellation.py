"""Cancellation at every step of receiver, sender and broker: nothing leaks, nobody else is hurt.

A scenario is run again and again. In the k-th run the party under test is cancelled when one of its
tasks is about to take the k-th step, until the scenario gets through without being cancelled.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import attrs
import pytest
import trio

from trio_p2p import (
    P2PError,
    P2PListener,
    Technique,
    open_p2p_listener,
    open_p2p_sender,
    open_p2p_stream,
)
from trio_p2p._broker.server import Broker

from .loopback import HOST, LoopbackBroker, echo, held, open_broker, until

PATIENCE = 5.0  # seconds until something that hangs fails its test
MIN_STEPS = 10  # that each scenario has, to see that they are counted


@attrs.define(eq=False)
class Canceller(trio.abc.Instrument):
    """Cancels a function when it, or a task that it started, is about to take the k-th step."""

    steps_left: int
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    ended: trio.Event = attrs.Factory(trio.Event)
    _root: trio.lowlevel.Task | None = None

    @property
    def has_struck(self) -> bool:
        return self.steps_left <= 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self._root:
            nursery = ancestor.parent_nursery
            ancestor = None if nursery is None else nursery.parent_task
        if ancestor is not None:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.scope.cancel(reason="this is the step")

    async def run(self, party: Callable[[], Awaitable[object]]) -> None:
        self._root = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(self)
        try:
            with self.scope:
                await party()
        finally:
            trio.lowlevel.remove_instrument(self)
            self.ended.set()


async def at_every_step(scenario: Callable[[Canceller], Awaitable[None]]) -> None:
    await run_and_check(scenario, Canceller(1_000_000), held)  # whatever is made only once
    before = held()
    for step in itertools.count(1):
        canceller = Canceller(step)
        await run_and_check(scenario, canceller, lambda: before)
        if not canceller.has_struck:
            assert step > MIN_STEPS
            return


async def run_and_check(
    scenario: Callable[[Canceller], Awaitable[None]],
    canceller: Canceller,
    expected: Callable[[], object],
) -> None:
    with trio.fail_after(PATIENCE):
        await scenario(canceller)
    await until(lambda: held() == expected())


def assert_nothing_left(broker: Broker) -> None:
    assert broker.registry.uids == frozenset()
    assert broker.registry.pending_introductions == 0
    assert broker._links == {}


async def use(stream: trio.SocketStream) -> None:
    """Send something, and wait for all that comes: nobody may leave us waiting for ever."""
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(b"data")
            await stream.send_eof()
            received = b"".join([piece async for piece in stream])
            assert received in (b"", b"data")


async def send(broker: tuple[str, int], technique: Technique) -> None:
    """A sender, to whom it may happen that its receiver or broker goes away."""
    with suppress(P2PError):
        await use(await open_p2p_stream("receiver", broker, techniques=[technique]))


@asynccontextmanager
async def open_receiver(
    broker: LoopbackBroker, technique: Technique
) -> AsyncGenerator[P2PListener]:
    """A receiver whose handlers have to end by themselves when it has gone."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await echo(stream)
        await stream.aclose()

    async def accept() -> None:
        with suppress(trio.ClosedResourceError):
            while True:
                handlers.start_soon(handle, await listener.accept())

    async with (
        trio.open_nursery() as handlers,
        open_p2p_listener("receiver", broker.address, techniques=[technique]) as listener,
    ):
        handlers.start_soon(accept)
        yield listener
        await listener.aclose()


@pytest.mark.parametrize("technique", Technique)
async def test_receiver(technique: Technique) -> None:
    async def scenario(canceller: Canceller) -> None:
        async def receive() -> None:
            async with AsyncExitStack() as stack:
                async with open_p2p_listener(
                    "receiver", broker.address, techniques=[technique]
                ) as listener:
                    registered.set()
                    stream = await stack.enter_async_context(await listener.accept())
                with suppress(trio.BrokenResourceError):
                    await echo(stream)

        async def send_while_there_is_a_receiver() -> None:
            await registered.wait()
            with suppress(P2PError):
                stream = await open_p2p_stream("receiver", broker.address, techniques=[technique])
                streams.start_soon(use, stream)  # without a checkpoint, so we are not cancelled

        registered = trio.Event()
        async with trio.open_nursery() as streams, trio.open_nursery() as nursery:
            nursery.start_soon(canceller.run, receive)
            nursery.start_soon(send_while_there_is_a_receiver)
            await canceller.ended.wait()
            nursery.cancel_scope.cancel(reason="the receiver has gone")
        await until(lambda: not broker.broker._links)
        assert_nothing_left(broker.broker)

    async with open_broker() as broker:
        await at_every_step(scenario)


async def test_accept_loses_no_stream() -> None:
    async def scenario(canceller: Canceller) -> None:
        async with open_p2p_listener("receiver", broker.address) as listener:
            accepted: list[trio.SocketStream] = []

            async def accept() -> None:
                accepted.append(await listener.accept())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(canceller.run, accept)
                nursery.start_soon(send, broker.address, Technique.FAST)
                await canceller.ended.wait()
                stream = accepted[0] if accepted else await listener.accept()
                await echo(stream)
                await stream.aclose()
        assert canceller.scope.cancelled_caught is not bool(accepted)

    async with open_broker() as broker:
        canceller = Canceller(1)
        for step in itertools.count(1):
            canceller = Canceller(step)
            with trio.fail_after(PATIENCE):
                await scenario(canceller)
            if not canceller.has_struck:
                break


@pytest.mark.parametrize("technique", Technique)
async def test_open_p2p_stream(technique: Technique) -> None:
    async def scenario(canceller: Canceller) -> None:
        async def open_and_use() -> None:
            await use(await open_p2p_stream("receiver", broker.address, techniques=[technique]))

        # A task of its own, so that its steps can be told from ours.
        async with open_receiver(broker, technique), trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(canceller.run, open_and_use)
        await until(lambda: not broker.broker._links)
        assert_nothing_left(broker.broker)

    async with open_broker() as broker:
        await at_every_step(scenario)


@pytest.mark.parametrize("technique", Technique)
async def test_open_p2p_sender(technique: Technique) -> None:
    async def scenario(canceller: Canceller) -> None:
        async def open_and_use() -> None:
            async with open_p2p_sender(broker.address, techniques=[technique]) as sender:
                for _ in range(2):
                    await use(await sender.open_stream("receiver"))

        # A task of its own, so that its steps can be told from ours.
        async with open_receiver(broker, technique), trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(canceller.run, open_and_use)
        await until(lambda: not broker.broker._links)
        assert_nothing_left(broker.broker)

    async with open_broker() as broker:
        await at_every_step(scenario)


@pytest.mark.parametrize("technique", Technique)
async def test_broker(technique: Technique) -> None:
    async def scenario(canceller: Canceller) -> None:
        broker = Broker()

        async def serve() -> None:
            listeners = await trio.open_tcp_listeners(0, host=HOST)
            address.append(listeners[0].socket.getsockname()[:2])
            listening.set()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.serve_listeners, broker.serve_socket, listeners)
                    await exchanged.wait()
                    await until(lambda: not broker._links)
                    scope.cancel(reason="the clients have gone")

        async def receive(*, task_status: trio.TaskStatus[None]) -> None:
            with suppress(P2PError):
                async with open_p2p_listener(
                    "receiver", address[0], techniques=[technique]
                ) as listener:
                    task_status.started()
                    stream = await listener.accept()
                    async with stream:
                        with suppress(trio.BrokenResourceError):
                            await echo(stream)
                    return
            task_status.started()

        async def have_clients() -> None:
            await listening.wait()
            async with trio.open_nursery() as nursery:
                await nursery.start(receive)
                await send(address[0], technique)
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
