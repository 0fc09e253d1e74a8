"""The receiver's side of the public API, on the loopback interface."""

from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from trio_p2p import (
    BrokerUnreachableError,
    Identity,
    LocalProtocolError,
    P2PListener,
    P2PListenerStatistics,
    P2PStream,
    PeerId,
    StreamAbortedError,
    UIDTakenError,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
    serve_p2p,
)

from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    PATIENCE,
    RAW_WAYS,
    SESSION_WAYS,
    WAYS,
    Way,
    echo,
    exchange,
    held,
    nobody_listening,
    open_broker,
    open_raw_listener,
    open_raw_peers,
    open_raw_stream,
    open_session_peers,
    serve_raw,
    settled,
    until,
)

KINDS = pytest.mark.parametrize("way", [RAW_WAYS[0], SESSION_WAYS[0]], ids=["raw", "session"])


class OwnError(Exception):
    """Raised by a test itself."""


# Accepting


async def test_accept_gives_a_plain_stream_if_it_is_raw() -> None:
    async with (
        open_raw_peers("receiver") as (_, listener, sender),
        await sender.open_raw_stream("receiver") as opened,
        await listener.accept() as accepted,
    ):
        assert type(accepted) is trio.SocketStream
        await opened.send_all(b"hello")
        assert await accepted.receive_some() == b"hello"


async def test_accept_gives_a_stream_that_knows_its_peer() -> None:
    async with (
        open_session_peers("receiver") as (_, listener, sender),
        await sender.open_stream("receiver") as opened,
        await listener.accept() as accepted,
    ):
        assert type(accepted) is P2PStream
        assert accepted.peer_id == sender.peer_id
        assert opened.peer_id == listener.peer_id
        await opened.send_all(b"hello")
        assert await accepted.receive_some() == b"hello"


@KINDS
async def test_cancelled_accept_takes_no_stream(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
    ):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test says so")
            await listener.accept()
        assert scope.cancelled_caught
        async with await way.open_stream_of(sender, "receiver") as opened:
            await until(lambda: listener.statistics().waiting == 1)
            with trio.CancelScope() as scope:
                scope.cancel(reason="the test says so")
                await listener.accept()
            assert scope.cancelled_caught
            assert listener.statistics().waiting == 1
            async with await listener.accept() as accepted:
                await accepted.send_all(b"still here")
                assert await opened.receive_some() == b"still here"


@KINDS
async def test_streams_wait_in_the_order_of_their_coming(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
    ):
        for number in range(5):
            stream = await way.open_stream_of(sender, "receiver")
            await stream.send_all(bytes([number]))
            await until(lambda: listener.statistics().waiting == number + 1)  # noqa: B023
            await stream.aclose()
        for number in range(5):
            async with await listener.accept() as accepted:
                assert await accepted.receive_some() == bytes([number])


async def test_accept_of_a_closed_listener() -> None:
    async with open_session_peers("receiver") as (_, listener, _):
        await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        await listener.aclose()


async def test_accept_is_interrupted_by_close() -> None:
    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    with trio.fail_after(PATIENCE):
        async with (
            open_session_peers("receiver") as (_, listener, _),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(accept)
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()


# Whom to admit


async def test_only_those_who_are_admitted_get_a_stream() -> None:
    asked: list[PeerId] = []

    def admit(peer_id: PeerId) -> bool:
        asked.append(peer_id)
        return peer_id == friend.peer_id

    friend, stranger = Identity.generate(), Identity.generate()
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address, admit=admit) as listener,
        open_p2p_stream("receiver", broker.address, identity=friend) as opened,
        await listener.accept() as accepted,
        trio.open_nursery() as nursery,
    ):
        assert asked == [friend.peer_id]

        async def knock() -> None:
            with pytest.raises(trio.BrokenResourceError, match="does not admit"):
                async with open_p2p_stream(
                    "receiver", broker.address, identity=stranger
                ) as refused:
                    await refused.receive_some()

        nursery.start_soon(knock)
        await until(lambda: stranger.peer_id in asked)
        await opened.send_all(b"hello")
        assert await accepted.receive_some() == b"hello"
        assert listener.statistics().waiting == 0


# Closing


async def test_close_works_when_cancelled() -> None:
    async with open_session_peers("receiver") as (broker, listener, _):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test says so")
            await listener.aclose()
        assert scope.cancelled_caught
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        await until(lambda: broker.uids == frozenset())


async def test_close_is_a_checkpoint() -> None:
    async with open_session_peers("receiver") as (_, listener, _):
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await listener.aclose()


async def test_unaccepted_raw_streams_are_closed_on_leaving_and_accepted_ones_live_on() -> None:
    async with open_broker() as broker, open_peer(broker.address) as sender:
        async with open_raw_listener("receiver", broker.address) as listener:
            opened = await sender.open_raw_stream("receiver")
            accepted = await listener.accept()
            unaccepted = await sender.open_raw_stream("receiver")
            await until(lambda: listener.statistics().waiting == 1)
        async with opened, accepted, unaccepted:
            assert await unaccepted.receive_some() == b""
            await opened.send_all(b"alive")
            assert await accepted.receive_some() == b"alive"


async def test_unaccepted_streams_are_closed_with_the_listener_and_accepted_ones_live_on() -> None:
    async with open_session_peers("receiver", "fast") as (_, listener, sender):
        opened = await sender.open_stream("receiver")
        accepted = await listener.accept()
        unaccepted = await sender.open_stream("receiver")
        await until(lambda: listener.statistics().waiting == 1)
        await listener.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await unaccepted.receive_some()
        async with opened, accepted:
            await opened.send_all(b"alive")
            assert await accepted.receive_some() == b"alive"


async def test_streams_of_sessions_end_when_their_peer_is_left() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address, techniques=DIRECT_TECHNIQUES) as sender,
    ):
        async with open_p2p_listener("receiver", broker.address) as listener:
            opened = await sender.open_stream("receiver")
            accepted = await listener.accept()
            unaccepted = await sender.open_stream("receiver")
            await until(lambda: listener.statistics().waiting == 1)
        with trio.fail_after(PATIENCE):
            with pytest.raises(trio.ClosedResourceError, match="was left"):
                await accepted.receive_some()
            for stream in (opened, unaccepted):
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await stream.receive_some()
                assert isinstance(caught.value.__cause__, StreamAbortedError)


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
    async with open_session_peers("receiver") as (broker, _, _):
        before = await settled()
        with pytest.raises(UIDTakenError, match="choose another"):
            async with open_p2p_listener("receiver", broker.address):
                pytest.fail("registered twice")
        with pytest.raises(UIDTakenError):
            await serve_p2p(echo, "receiver", broker.address)
        await until(lambda: held() == before)


async def test_own_uid_is_taken_over_by_the_same_identity() -> None:
    identity = Identity.generate()
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address, identity=identity) as older,
        open_p2p_listener("receiver", broker.address, identity=identity) as newer,
        open_peer(broker.address) as sender,
    ):
        with pytest.raises(UIDTakenError):
            await older.accept()
        async with (
            await sender.open_stream("receiver") as opened,
            await newer.accept() as accepted,
        ):
            await opened.send_all(b"hello")
            assert await accepted.receive_some() == b"hello"


async def test_peer_id_of_another_identity_is_no_uid() -> None:
    stranger = Identity.generate().peer_id
    for uid in (stranger, str(stranger)):
        with pytest.raises(LocalProtocolError, match="is the peer id of another identity"):
            async with open_p2p_listener(uid, "127.0.0.1:1"):
                pytest.fail("registered a stranger")


async def test_broker_unreachable() -> None:
    with nobody_listening() as address, pytest.raises(BrokerUnreachableError) as caught:
        async with open_p2p_listener("receiver", address):
            pytest.fail("registered nowhere")
    assert f"{address[1]}" in str(caught.value)


@pytest.mark.parametrize("uid", ["", "x" * 129, "new\nline", b"bytes", None])
async def test_bad_uid(uid: str) -> None:
    with pytest.raises(LocalProtocolError, match="no UID"):
        async with open_p2p_listener(uid, "127.0.0.1:1"):
            pytest.fail("registered nonsense")


@pytest.mark.parametrize("techniques", [[], ["slow"], "fast", ["fast", "magic"]])
async def test_bad_techniques(techniques: list[str]) -> None:
    with pytest.raises(LocalProtocolError, match=r"choose from .fast., .classic., .relay."):
        async with open_peer("127.0.0.1:1", techniques=techniques):
            pytest.fail("registered nonsense")


async def test_raw_listener_needs_a_direct_technique() -> None:
    with pytest.raises(LocalProtocolError, match="allow other techniques than the relay"):
        async with open_raw_listener("receiver", ("127.0.0.1", 1), techniques=["relay"]):
            pytest.fail("registered nonsense")


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_sender_that_gives_up_does_not_surface(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
    ):
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel(reason="the test says so")
                async with way.open_stream("receiver", broker.address):
                    pytest.fail("not cancelled")
        async with await way.open_stream_of(sender, "receiver") as opened:
            async with await listener.accept():
                pass
            assert await opened.receive_some() == b""


# Statistics


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_statistics(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_peer(broker.address) as sender,
    ):
        assert listener.uid == "receiver"
        assert listener.statistics() == P2PListenerStatistics(1, 0, 0, 0, 0, 0, 0, 0)
        async with await way.open_stream_of(sender, "receiver"):
            await until(
                lambda: listener.statistics() == P2PListenerStatistics(1, 1, 1, 0, 0, 1, 0, 0)
            )
            async with await listener.accept():
                assert listener.statistics() == P2PListenerStatistics(1, 1, 1, 0, 0, 0, 0, 0)


# Serving


async def test_few_introductions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._listen.puncher.MAX_NONCES", 1)
    async with open_raw_peers("receiver") as (_, listener, sender):
        for _ in range(3):
            async with await sender.open_raw_stream("receiver"):
                await (await listener.accept()).aclose()


async def test_serve_p2p_starts_with_the_listener_and_serves() -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        listener = await nursery.start(serve_p2p, echo, "echo", broker.address)
        assert type(listener) is P2PListener
        assert broker.uids == {"echo"}
        for _ in range(2):
            async with open_p2p_stream("echo", broker.address) as stream:
                assert await exchange(stream, b"data") == b"data"
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_serve_p2p_runs_handlers_where_told() -> None:
    async def handle(stream: P2PStream) -> None:
        handling.set()
        await trio.sleep_forever()

    handling = trio.Event()
    async with (
        open_broker() as broker,
        open_peer(broker.address) as sender,
        trio.open_nursery() as handlers,
    ):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_p2p, handler_nursery=handlers)
            await nursery.start(serve, handle, "receiver", broker.address)
            stream = await sender.open_stream("receiver")
            await handling.wait()
            nursery.cancel_scope.cancel(reason="the receiver quits")
        await until(lambda: broker.uids == frozenset())
        assert len(handlers.child_tasks) == 1
        handlers.cancel_scope.cancel(reason="the handlers, too")
        await trio.aclose_forcefully(stream)


async def test_exception_of_a_handler_ends_serving() -> None:
    async def handle(_: P2PStream) -> None:
        raise OwnError

    async with open_broker() as broker:
        with pytest.RaisesGroup(OwnError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_p2p, handle, "receiver", broker.address)
                async with open_p2p_stream("receiver", broker.address) as stream:
                    with suppress(trio.BrokenResourceError):
                        await stream.receive_some()
                    await trio.sleep_forever()
        assert await is_free(broker.address)


async def test_handler_that_loses_something_else_than_its_peer_ends_serving() -> None:
    async def handle(_: P2PStream) -> None:
        raise trio.BrokenResourceError("another stream broke")

    async with open_broker() as broker:
        with (
            trio.fail_after(PATIENCE),
            pytest.RaisesGroup(
                pytest.RaisesExc(trio.BrokenResourceError, match="another"), flatten_subgroups=True
            ),
        ):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_p2p, handle, "receiver", broker.address)
                async with open_p2p_stream("receiver", broker.address) as stream:
                    with suppress(trio.BrokenResourceError):
                        await stream.receive_some()
                    await trio.sleep_forever()


async def test_listener_works_with_serve_listeners() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("one", broker.address) as one,
        open_p2p_listener("two", broker.address) as two,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(trio.serve_listeners, echo, [one, two])
        for uid in ("one", "two"):
            async with open_p2p_stream(uid, broker.address) as stream:
                assert await exchange(stream, b"data") == b"data"
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_listeners_of_both_kinds_stand_side_by_side() -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        await nursery.start(serve_raw, echo, "raw", broker.address)
        await nursery.start(serve_p2p, echo, "session", broker.address)
        assert await exchange(await open_raw_stream("raw", broker.address), b"data") == b"data"
        async with open_p2p_stream("session", broker.address) as stream:
            assert await exchange(stream, b"data") == b"data"
        nursery.cancel_scope.cancel(reason="the test is over")
