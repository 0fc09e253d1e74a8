"""A sender of many streams: what ends with it, and what it keeps."""

import errno
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio
import trio.testing

from trio_p2p import P2PError, Peer, StreamAbortedError, open_p2p_listener, open_peer

from .kit.loopback import HOST, WAYS, Way, open_broker, open_raw_peers, until


async def test_streams_of_sessions_end_with_the_sender() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address) as listener,
    ):
        async with open_peer(broker.address) as sender:
            opened = await sender.open_stream("receiver")
            accepted = await listener.accept()
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await opened.send_all(b"too late")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await accepted.receive_some()
        assert isinstance(caught.value.__cause__, StreamAbortedError)


async def test_sender_that_is_left_opens_no_more() -> None:
    async def open_in_vain(sender: Peer) -> None:
        with pytest.raises(trio.ClosedResourceError, match="the sender was closed"):
            await sender.open_stream("receiver")

    async def say_nothing(stream: trio.SocketStream) -> None:
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host=HOST))
        async with AsyncExitStack() as stack, trio.open_nursery() as others:
            sender = await stack.enter_async_context(open_peer(listener.socket.getsockname()))
            others.start_soon(open_in_vain, sender)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stack.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_host_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with open_broker() as broker, open_peer(broker.address) as sender:
        monkeypatch.setattr("trio_p2p._broker_client.resolve.start_connecting", refuse)
        with pytest.raises(P2PError, match="Too many open files"):
            await sender.open_stream("receiver")


async def test_connections_to_the_broker_are_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._connect.link_pool.MAX_ASKED", 1)
    async with open_raw_peers("receiver") as (broker, _, sender):
        for _ in range(3):
            await trio.aclose_forcefully(await sender.open_raw_stream("receiver"))
        # Those of the registration, and of the next stream.
        await until(lambda: len(broker.broker._links) == 2)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_sender_finds_the_broker_again(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
        await way.open_stream_of(sender, "receiver"),
    ):
        await broker.kill()
        await broker.start()
        await until(lambda: listener.statistics().registrations == 2)
        async with await way.open_stream_of(sender, "receiver"):
            pass
