"""How streams end, as applications see it: completely, or honestly not; and every wait ends."""

import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from trio_p2p import (
    P2PStream,
    Peer,
    StreamAbortedError,
    open_p2p_listener,
    open_peer,
    serve_p2p,
)
from trio_p2p._net.nursery import open_background_nursery

from ..kit.loopback import PATIENCE, TECHNIQUES, open_broker, open_session_peers, until
from ..kit.streams import open_peers, reset

MIB = 1 << 20


class BlockError(Exception):
    pass


async def receive_all(stream: P2PStream) -> tuple[bytes, BaseException | None]:
    """All that comes, and the cause of the error that it ends with, if it does not end well."""
    data = b""
    try:
        async for chunk in stream:
            data += chunk
    except trio.BrokenResourceError as error:
        return data, error.__cause__
    return data, None


@asynccontextmanager
async def open_pair(path: str = "direct") -> AsyncGenerator[tuple[P2PStream, P2PStream]]:
    with trio.fail_after(2 * PATIENCE):
        async with open_peers() as peers:
            yield await peers.open_pair(path)


# Blocks and handlers that fail.


@pytest.mark.parametrize("is_caught_inside", [True, False])
async def test_stream_of_a_block_that_fails_is_aborted(*, is_caught_inside: bool) -> None:
    async with open_session_peers("receiver") as (broker, listener, _):

        async def fail(sender: Peer) -> None:
            async with await sender.open_stream("receiver") as stream:
                await stream.send_all(b"half of it")
                accepted.append(await listener.accept())
                raise BlockError

        accepted: list[P2PStream] = []
        with suppress(BlockError):
            async with open_peer(broker.address) as sender:
                with suppress(BlockError if is_caught_inside else KeyError):
                    await fail(sender)
        data, cause = await receive_all(accepted[0])
        assert data in (b"", b"half of it")
        assert isinstance(cause, StreamAbortedError)


async def test_stream_of_a_block_that_is_cancelled_is_aborted() -> None:
    async with open_session_peers("receiver") as (_, listener, sender):
        accepted: list[P2PStream] = []
        with trio.CancelScope() as scope:
            async with await sender.open_stream("receiver") as stream:
                await stream.send_all(b"half of it")
                accepted.append(await listener.accept())
                scope.cancel(reason="the test")
                await trio.sleep_forever()
        _, cause = await receive_all(*accepted)
        assert isinstance(cause, StreamAbortedError)
        assert "cancelled" in str(cause)


async def test_stream_that_is_aborted_before_it_was_said_leaves_nothing_behind() -> None:
    async with open_session_peers("receiver") as (_, listener, sender):
        kept = await sender.open_stream("receiver")
        accepted = await listener.accept()
        stream = await kept.connection.open_stream()
        stream.abort()
        assert stream.is_over
        assert stream.path is None
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        await kept.send_all(b"meanwhile")
        assert await accepted.receive_some() == b"meanwhile"
        for connection in (kept.connection, accepted.connection):
            assert connection.statistics().streams == 1


async def test_stream_that_is_closed_at_once_is_an_empty_one() -> None:
    async with open_session_peers("receiver") as (_, listener, sender):
        await (await sender.open_stream("receiver")).aclose()
        stream = await listener.accept()
        assert await receive_all(stream) == (b"", None)
        await stream.aclose()
        await until(lambda: stream.connection.statistics().streams == 0)


async def test_cancelled_aclose_is_a_clean_end() -> None:
    async with open_session_peers("receiver") as (_, listener, sender):
        stream = await sender.open_stream("receiver")
        await stream.send_all(b"all of it")
        await trio.aclose_forcefully(stream)
        assert await receive_all(await listener.accept()) == (b"all of it", None)


async def test_abort_tells_the_reason() -> None:
    async with open_pair() as (opened, accepted):
        opened.abort("the disk is full")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await accepted.receive_some()
        assert "the disk is full" in str(caught.value.__cause__)
        with pytest.raises(trio.ClosedResourceError):
            await opened.send_all(b"x")
        opened.abort("again, which does nothing")
        await opened.aclose()


async def test_abort_while_much_is_being_sent_gets_through() -> None:
    async with open_pair() as (opened, accepted), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await opened.send_all(bytes(64 * MIB))

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        opened.abort("enough")
        _, cause = await receive_all(accepted)
        assert isinstance(cause, StreamAbortedError)
        assert "enough" in str(cause)


async def test_handlers_of_serve_p2p_that_fail_or_are_cancelled_abort() -> None:
    async def fail(stream: P2PStream) -> None:
        await stream.send_all(b"half of it")
        raise BlockError

    async def give_up(stream: P2PStream) -> None:
        await stream.send_all(b"half of it")
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test")
            async with stream:
                await trio.sleep_forever()

    async with open_broker() as broker, open_peer(broker.address) as sender:
        streams: list[P2PStream] = []
        with pytest.RaisesGroup(BlockError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_p2p, fail, "fails", broker.address)
                streams.append(await sender.open_stream("fails"))
                await trio.sleep_forever()
        _, cause = await receive_all(streams[0])
        assert isinstance(cause, StreamAbortedError)
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_p2p, give_up, "gives up", broker.address)
            _, cause = await receive_all(await sender.open_stream("gives up"))
            assert isinstance(cause, StreamAbortedError)
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_senders_that_go_end_no_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "trio_p2p.stream")

    async def fail(sender: Peer) -> None:
        async with await sender.open_stream("receiver") as stream:
            assert await stream.receive_some() == b"hello\n"
            raise BlockError

    async def greet(stream: P2PStream) -> None:
        await stream.send_all(b"hello\n")
        async for _ in stream:
            pass

    async with open_broker() as broker, trio.open_nursery() as nursery:
        listener = await nursery.start(serve_p2p, greet, "receiver", broker.address)
        async with open_peer(broker.address) as sender:
            for _ in range(5):
                with pytest.raises(BlockError):
                    await fail(sender)
            await until(lambda: listener.statistics().lost == 5)
            async with await sender.open_stream("receiver") as stream:
                assert await stream.receive_some() == b"hello\n"
        nursery.cancel_scope.cancel(reason="the test is over")
    assert sum("has gone while it was served" in each.getMessage() for each in caplog.records) >= 5


async def test_admit_that_raises_refuses(caplog: pytest.LogCaptureFixture) -> None:
    def admit(_: object) -> bool:
        raise BlockError

    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address, admit=admit),
        open_peer(broker.address) as sender,
    ):
        stream = await sender.open_stream("receiver")
        with pytest.raises(trio.BrokenResourceError, match="does not admit"):
            await stream.receive_some()
    assert any(record.exc_info for record in caplog.records)


# Waits that end.


@pytest.mark.parametrize("how", ["closes", "aborts"])
async def test_send_all_ends_when_the_other_side_leaves(how: str) -> None:
    async with open_pair() as (opened, accepted), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await opened.send_all(bytes(256 * MIB))
            nursery.cancel_scope.cancel(reason="it has ended")

        nursery.start_soon(send)
        await accepted.receive_some()
        if how == "closes":
            await accepted.aclose()
        else:
            accepted.abort()
        await trio.sleep_forever()


async def test_send_all_ends_when_another_task_closes() -> None:
    async with open_pair() as (opened, accepted), trio.open_nursery() as nursery:
        is_closed = trio.Event()

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await opened.send_all(bytes(64 * MIB))
            is_closed.set()

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(opened.aclose)
        await is_closed.wait()
        data, cause = await receive_all(accepted)
        assert cause is None
        assert len(data) < 64 * MIB


async def test_streams_are_closed_for_others_when_their_owner_leaves() -> None:
    async with open_session_peers("receiver") as (broker, listener, _):
        async with open_peer(broker.address) as sender:
            opened = await sender.open_stream("receiver")
            await listener.accept()
        for use in (
            opened.receive_some,
            opened.send_eof,
            opened.wait_send_all_might_not_block,
            lambda: opened.send_all(b"x"),
            lambda: opened.wait_path_changed(None),
            lambda: sender.open_stream("receiver"),
        ):
            with pytest.raises(trio.ClosedResourceError, match="left"):
                await use()
        await opened.aclose()


@pytest.mark.parametrize("is_open", [True, False])
async def test_leaving_a_peer_without_a_path_takes_no_time_if_nothing_is_to_be_delivered(
    *, is_open: bool
) -> None:
    async with open_session_peers("receiver", "fast") as (broker, listener, _):
        async with open_peer(broker.address, techniques=["fast"]) as sender:
            opened = await sender.open_stream("receiver")
            accepted = await listener.accept()
            await opened.send_all(b"question")
            assert await accepted.receive_some() == b"question"
            if not is_open:
                await opened.aclose()
                await accepted.aclose()
            connection = opened.connection
            await broker.kill()
            path = connection.path
            assert path is not None
            reset(path)
            while path is not None:
                path = await connection.wait_path_changed(path)
            began_at = trio.current_time()
        assert trio.current_time() - began_at < PATIENCE / 2


# Cancellation goes first, and exceptions leave as they are.


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_cancelled_busy_streams_raise_nothing_else(path: str) -> None:
    async def push(stream: P2PStream) -> None:
        while True:
            await stream.send_all(bytes(3000))

    async def pull(stream: P2PStream) -> None:
        while True:
            await stream.receive_some()

    async def echo(stream: P2PStream) -> None:
        async for chunk in stream:
            await stream.send_all(chunk)

    async with open_broker() as broker, trio.open_nursery() as nursery:
        await nursery.start(serve_p2p, echo, "receiver", broker.address)
        for steps in range(250):
            with trio.CancelScope() as scope:
                async with open_peer(broker.address, techniques=TECHNIQUES[path]) as sender:
                    stream = await sender.open_stream("receiver")
                    async with stream, trio.open_nursery() as busy:
                        busy.start_soon(push, stream)
                        busy.start_soon(pull, stream)
                        for _ in range(steps):
                            await trio.lowlevel.checkpoint()
                        scope.cancel(reason="the test")
            assert scope.cancelled_caught
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_groups_of_a_block_leave_as_they_are() -> None:
    class Mine(ExceptionGroup[Exception]):  # noqa: ASYNC126 - as applications write them
        pass

    async def fail() -> None:
        async with open_background_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise group

    group = Mine("of the block", [OSError(errno.EIO, "x"), BlockError()])
    with pytest.raises(Mine) as caught:
        await fail()
    assert caught.value is group


async def test_failures_in_the_background_come_out_beside_a_group_of_the_block() -> None:
    async def fail() -> None:
        raise BlockError

    with pytest.RaisesGroup(BlockError, pytest.RaisesGroup(KeyError)):
        async with open_background_nursery() as nursery:
            nursery.start_soon(fail)
            raise ExceptionGroup("of the block", [KeyError("x")])


async def test_errors_of_a_block_come_out_bare_when_all_is_cancelled_meanwhile() -> None:
    async def linger() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            scope.cancel(reason="the test")
            raise

    async def fail() -> None:
        async with open_background_nursery() as nursery:
            nursery.start_soon(linger)
            await trio.testing.wait_all_tasks_blocked()
            raise BlockError

    with trio.CancelScope() as scope, pytest.raises(BlockError):
        await fail()
