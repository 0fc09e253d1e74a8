"""The receiver's side of the public API, on the loopback interface."""

from functools import partial

import pytest
import trio
import trio.testing

from trio_p2p import (
    BrokerUnreachableError,
    LocalProtocolError,
    P2PListener,
    P2PListenerStatistics,
    Technique,
    UIDTakenError,
    open_p2p_listener,
    open_p2p_sender,
    open_p2p_stream,
    serve_p2p,
)

from .loopback import PATIENCE, echo, exchange, held, open_broker, open_peers, until


class OwnError(Exception):
    """Raised by a test itself."""


# Accepting


async def test_accept_gives_a_plain_stream() -> None:
    async with (
        open_peers("receiver") as (_, listener, sender),
        await sender.open_stream("receiver") as opened,
        await listener.accept() as accepted,
    ):
        assert type(accepted) is trio.SocketStream
        await opened.send_all(b"hello")
        assert await accepted.receive_some() == b"hello"


async def test_cancelled_accept_takes_no_stream() -> None:
    async with open_peers("receiver") as (_, listener, sender):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test says so")
            await listener.accept()
        assert scope.cancelled_caught
        async with await sender.open_stream("receiver") as opened:
            await until(lambda: listener.statistics().waiting == 1)
            with trio.CancelScope() as scope:
                scope.cancel(reason="the test says so")
                await listener.accept()
            assert scope.cancelled_caught
            assert listener.statistics().waiting == 1
            async with await listener.accept() as accepted:
                await accepted.send_all(b"still here")
                assert await opened.receive_some() == b"still here"


async def test_streams_wait_in_the_order_of_their_coming() -> None:
    async with open_peers("receiver") as (_, listener, sender):
        for number in range(5):
            stream = await sender.open_stream("receiver")
            await stream.send_all(bytes([number]))
            await until(lambda: listener.statistics().waiting == number + 1)  # noqa: B023
            await stream.aclose()
        for number in range(5):
            async with await listener.accept() as accepted:
                assert await accepted.receive_some() == bytes([number])


async def test_accept_of_a_closed_listener() -> None:
    async with open_peers("receiver") as (_, listener, _):
        await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        await listener.aclose()


async def test_accept_is_interrupted_by_close() -> None:
    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    with trio.fail_after(PATIENCE):
        async with open_peers("receiver") as (_, listener, _), trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()


# Closing


async def test_close_works_when_cancelled() -> None:
    async with open_peers("receiver") as (broker, listener, _):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test says so")
            await listener.aclose()
        assert scope.cancelled_caught
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        await until(lambda: broker.uids == frozenset())


async def test_close_is_a_checkpoint() -> None:
    async with open_peers("receiver") as (_, listener, _):
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await listener.aclose()


async def test_unaccepted_streams_are_closed_on_leaving_and_accepted_ones_live_on() -> None:
    async with open_broker() as broker, open_p2p_sender(broker.address) as sender:
        async with open_p2p_listener("receiver", broker.address) as listener:
            opened = await sender.open_stream("receiver")
            accepted = await listener.accept()
            unaccepted = await sender.open_stream("receiver")
            await until(lambda: listener.statistics().waiting == 1)
        async with opened, accepted, unaccepted:
            assert await unaccepted.receive_some() == b""
            await opened.send_all(b"alive")
            assert await accepted.receive_some() == b"alive"


async def test_uid_is_free_at_once_after_leaving() -> None:
    async with open_broker() as broker:
        for _ in range(20):
            async with open_p2p_listener("receiver", broker.address):
                assert broker.uids == {"receiver"}


async def test_uid_is_free_at_once_after_being_cancelled() -> None:
    async with open_broker() as broker:
        for _ in range(20):
            with trio.CancelScope() as scope:
                async with open_p2p_listener("receiver", broker.address):
                    scope.cancel(reason="the test says so")
                    await trio.sleep_forever()
        assert await is_free(broker.address)


async def is_free(broker: tuple[str, int]) -> bool:
    async with open_p2p_listener("receiver", broker):
        return True


# What goes wrong


async def test_exception_of_the_body_comes_out_bare() -> None:
    async with open_broker() as broker:
        error = OwnError()
        with pytest.raises(OwnError) as caught:
            async with open_p2p_listener("receiver", broker.address):
                raise error
        assert caught.value is error


async def test_uid_taken() -> None:
    async with open_peers("receiver") as (broker, _, _):
        await trio.testing.wait_all_tasks_blocked()
        before = held()
        with pytest.raises(UIDTakenError, match="choose another"):
            async with open_p2p_listener("receiver", broker.address):
                pytest.fail("registered twice")
        with pytest.raises(UIDTakenError):
            await serve_p2p(echo, "receiver", broker.address)
        await until(lambda: held() == before)


async def test_broker_unreachable() -> None:
    async with open_broker() as broker:
        pass
    with pytest.raises(BrokerUnreachableError, match=f"{broker.port}.*check"):
        async with open_p2p_listener("receiver", broker.address):
            pytest.fail("registered nowhere")


@pytest.mark.parametrize("uid", ["", "x" * 129, "new\nline", b"bytes", None])
async def test_bad_uid(uid: str) -> None:
    with pytest.raises(LocalProtocolError, match="no UID"):
        async with open_p2p_listener(uid, "127.0.0.1:1"):
            pytest.fail("registered nonsense")


@pytest.mark.parametrize("techniques", [[], ["slow"], "fast", ["fast", "magic"]])
async def test_bad_techniques(techniques: list[str]) -> None:
    with pytest.raises(LocalProtocolError, match=r"choose from .fast., .classic."):
        async with open_p2p_listener("receiver", "127.0.0.1:1", techniques=techniques):
            pytest.fail("registered nonsense")


async def test_sender_that_gives_up_does_not_surface() -> None:
    async with open_peers("receiver") as (broker, listener, sender):
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel(reason="the test says so")
                await open_p2p_stream("receiver", broker.address)
        async with await sender.open_stream("receiver") as opened:
            async with await listener.accept():
                pass
            assert await opened.receive_some() == b""


# Statistics


@pytest.mark.parametrize("technique", Technique)
async def test_statistics(technique: Technique) -> None:
    async with open_peers("receiver", technique) as (_, listener, sender):
        assert listener.uid == "receiver"
        assert listener.statistics() == P2PListenerStatistics(1, 0, 0, 0, 0)
        async with await sender.open_stream("receiver"):
            await until(lambda: listener.statistics().waiting == 1)
            assert listener.statistics() == P2PListenerStatistics(1, 1, 1, 0, 1)
            async with await listener.accept():
                assert listener.statistics() == P2PListenerStatistics(1, 1, 1, 0, 0)


# Serving


async def test_serve_p2p_starts_with_the_listener_and_serves() -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_p2p, echo, "echo", broker.address)
        assert [type(listener) for listener in listeners] == [P2PListener]
        assert broker.uids == {"echo"}
        for _ in range(2):
            stream = await open_p2p_stream("echo", broker.address)
            assert await exchange(stream, b"data") == b"data"
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_serve_p2p_runs_handlers_where_told() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        handling.set()
        await trio.sleep_forever()

    handling = trio.Event()
    async with open_broker() as broker, trio.open_nursery() as handlers:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_p2p, handler_nursery=handlers)
            await nursery.start(serve, handle, "receiver", broker.address)
            stream = await open_p2p_stream("receiver", broker.address)
            await handling.wait()
            nursery.cancel_scope.cancel(reason="the receiver quits")
        async with stream:
            await until(lambda: broker.uids == frozenset())
            assert len(handlers.child_tasks) == 1
            handlers.cancel_scope.cancel(reason="the handlers, too")


async def test_exception_of_a_handler_ends_serving() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        raise OwnError

    async with open_broker() as broker:
        with pytest.RaisesGroup(OwnError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_p2p, handle, "receiver", broker.address)
                async with await open_p2p_stream("receiver", broker.address) as stream:
                    await stream.receive_some()
                    await trio.sleep_forever()
        assert await is_free(broker.address)


async def test_listener_works_with_serve_listeners() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("one", broker.address) as one,
        open_p2p_listener("two", broker.address) as two,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(trio.serve_listeners, echo, [one, two])
        for uid in ("one", "two"):
            stream = await open_p2p_stream(uid, broker.address)
            assert await exchange(stream, b"data") == b"data"
        nursery.cancel_scope.cancel(reason="the test is over")
