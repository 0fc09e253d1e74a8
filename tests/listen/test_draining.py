"""Servers that take no new streams, and let what they serve finish."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import P2PListener, P2PStream, Peer, StreamAbortedError, open_peer

from ..kit.loopback import (
    PATIENCE,
    LoopbackBroker,
    open_broker,
    open_raw_peers,
    until,
)
from ..kit.streams import reset


@attrs.frozen
class Server:
    """A receiver with a handler that waits until it may finish, and a sender."""

    broker: LoopbackBroker
    receiver: Peer
    sender: Peer
    may_finish: trio.Event = attrs.field(factory=trio.Event)

    async def answer_late(self, stream: P2PStream) -> None:
        assert await stream.receive_some() == b"?"
        await self.may_finish.wait()
        await stream.send_all(b"!")

    async def open_served(self) -> P2PStream:
        """A stream that a handler has got."""
        stream = await self.sender.open_stream("receiver")
        await stream.send_all(b"?")
        await until(lambda: self.receiver.statistics().streams > 0)
        return stream

    async def expect_answer(self, stream: P2PStream) -> None:
        assert await stream.receive_some() == b"!"
        assert await stream.receive_some() == b""
        await stream.aclose()


@asynccontextmanager
async def open_server(*techniques: str) -> AsyncGenerator[Server]:
    chosen = techniques or ("fast", "classic", "relay")
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_peer(broker.address, techniques=chosen) as sender,
    ):
        yield Server(broker, receiver, sender)


async def assert_refused(sender: Peer) -> None:
    """A new stream ends, and says why."""
    stream = await sender.open_stream("receiver")
    with pytest.raises(trio.BrokenResourceError, match="takes no new streams") as caught:
        await stream.receive_some()
    assert isinstance(caught.value.__cause__, StreamAbortedError)


async def test_running_handlers_finish_when_the_listener_is_drained() -> None:
    async with open_server() as server, trio.open_nursery() as nursery:
        listener: P2PListener[P2PStream] = await nursery.start(
            server.receiver.serve, "receiver", server.answer_late
        )
        stream = await server.open_served()
        nursery.start_soon(listener.drain)
        await until(lambda: listener.is_draining)
        assert server.broker.uids == {"receiver"}
        await assert_refused(server.sender)
        server.may_finish.set()
        await server.expect_answer(stream)
        # Now serve() and drain() return.
    assert server.broker.uids == frozenset()


async def test_stream_of_a_drained_listener_can_still_get_another_path() -> None:
    async with open_server("fast", "classic") as server, trio.open_nursery() as nursery:
        listener: P2PListener[P2PStream] = await nursery.start(
            server.receiver.serve, "receiver", server.answer_late
        )
        stream = await server.open_served()
        nursery.start_soon(listener.drain)
        await until(lambda: listener.is_draining)
        before = stream.path
        assert before is not None
        reset(before)
        with trio.fail_after(PATIENCE):
            while stream.path in (before, None):
                await stream.wait_path_changed(stream.path)
        server.may_finish.set()
        await server.expect_answer(stream)
        assert listener.statistics().connected == 1


async def test_serve_that_runs_handlers_elsewhere_stays_registered_until_they_have_finished() -> (
    None
):
    async with (
        open_server() as server,
        trio.open_nursery() as handlers,
        trio.open_nursery() as nursery,
    ):
        serve = partial(server.receiver.serve, handler_nursery=handlers)
        listener: P2PListener[P2PStream] = await nursery.start(
            serve, "receiver", server.answer_late
        )
        stream = await server.open_served()
        nursery.start_soon(listener.drain)
        await until(lambda: listener.is_draining)
        await trio.testing.wait_all_tasks_blocked()
        assert server.broker.uids == {"receiver"}
        server.may_finish.set()
        await server.expect_answer(stream)


async def test_serve_returns_when_its_listener_is_closed_and_the_handlers_have_finished() -> None:
    async with open_server() as server:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                listener: P2PListener[P2PStream] = await nursery.start(
                    server.receiver.serve, "receiver", server.answer_late
                )
                stream = await server.open_served()
                await until(lambda: listener.statistics().waiting == 0)
                await listener.aclose()
                await until(lambda: server.broker.uids == frozenset())
                server.may_finish.set()
                await server.expect_answer(stream)


async def test_idle_listener_is_drained_at_once() -> None:
    async with open_server() as server, server.receiver.listen("receiver") as listener:
        with trio.fail_after(PATIENCE):
            await listener.drain()
            await listener.drain()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        await until(lambda: server.broker.uids == frozenset())


async def test_drain_ends_accepting() -> None:
    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with (
        open_server() as server,
        server.receiver.listen("receiver") as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.drain()


async def test_drain_aborts_what_was_not_accepted() -> None:
    async with open_server() as server, server.receiver.listen("receiver") as listener:
        stream = await server.sender.open_stream("receiver")
        await until(lambda: listener.statistics().waiting == 1)
        await listener.drain()
        with pytest.raises(trio.BrokenResourceError, match="before it accepted the stream"):
            await stream.receive_some()


async def test_cancelled_drain_leaves_the_listener_registered() -> None:
    async with (
        open_server() as server,
        server.receiver.listen("receiver") as listener,
        await server.sender.open_stream("receiver") as opened,
        await listener.accept() as accepted,
    ):
        with trio.move_on_after(0.05) as scope:
            await listener.drain()
        assert scope.cancelled_caught
        assert server.broker.uids == {"receiver"}
        await assert_refused(server.sender)
        await opened.send_all(b"still here")
        assert await accepted.receive_some() == b"still here"


async def test_handlers_of_serve_listeners_finish_when_the_listener_is_drained() -> None:
    async def serve() -> None:
        with pytest.RaisesGroup(trio.ClosedResourceError, flatten_subgroups=True):
            await trio.serve_listeners(server.answer_late, [listener], handler_nursery=handlers)

    async with (
        open_server() as server,
        server.receiver.listen("receiver") as listener,
        trio.open_nursery() as handlers,
    ):
        handlers.start_soon(serve)
        stream = await server.open_served()
        await until(lambda: listener.statistics().waiting == 0)
        handlers.start_soon(listener.drain)
        await until(lambda: listener.is_draining)
        server.may_finish.set()
        await server.expect_answer(stream)


async def test_raw_streams_are_not_waited_for() -> None:
    async with open_raw_peers("receiver") as (broker, listener, sender):
        opened = await sender.open_raw_stream("receiver")
        accepted = await listener.accept()
        with trio.fail_after(PATIENCE):
            await listener.drain()
        await until(lambda: broker.uids == frozenset())
        async with opened, accepted:
            await opened.send_all(b"still here")
            assert await accepted.receive_some() == b"still here"
