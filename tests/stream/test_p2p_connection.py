"""A connection as applications see it: streams of both sides, their names, limits, and its end."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_p2p import (
    LocalProtocolError,
    P2PConnection,
    P2PStream,
    PathLostError,
    StreamAbortedError,
    UnknownProtocolError,
    UnknownUIDError,
    open_peer,
)
from trio_p2p._stream.credit import EARLY_STREAMS
from trio_p2p._stream.giving_up import CLOSING_TIME
from trio_p2p._stream.owned_connection import IDLE_TIME
from trio_p2p._stream.states import SessionState
from trio_p2p._stream.stream_frames import MAX_STREAM_NUMBER

from ..kit.connections import clog, open_connected
from ..kit.loopback import PATIENCE, open_broker, until
from ..kit.streams import reset


async def cause_of_failure(stream: P2PStream) -> BaseException | None:
    """Why nothing can be received."""
    with trio.fail_after(PATIENCE), pytest.raises(trio.BrokenResourceError) as caught:
        await stream.receive_some()
    return caught.value.__cause__


async def open_all(connection: P2PConnection, count: int) -> list[P2PStream]:
    return [await connection.open_stream() for _ in range(count)]


# Names.


async def test_streams_find_the_listeners_of_their_names() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        receiver.listen("alice", protocol="echo") as echo,
        receiver.listen("alice", protocol="chat") as chat,
        receiver.listen("bob") as bob,
        open_peer(broker.address) as sender,
    ):
        connection = await sender.connect("alice")
        for listener, uid, protocol in (
            (echo, None, "echo"),
            (chat, "alice", "chat"),
            (bob, "bob", ""),
        ):
            opened = await connection.open_stream(uid=uid, protocol=protocol)
            accepted = await listener.accept()
            assert opened.connection is connection
            assert opened.protocol == accepted.protocol == protocol
            assert accepted.uid in ("", uid or "")
            await opened.send_all(b"it is me")
            assert await accepted.receive_some() == b"it is me"


async def test_a_name_that_the_peer_does_not_serve_is_the_cause_of_the_first_error() -> None:
    async with open_connected() as connected:
        stream = await connected.opener.open_stream(protocol="unheard of")
        assert isinstance(await cause_of_failure(stream), UnknownProtocolError)
        stream = await connected.opener.open_stream(uid="unheard of")
        assert isinstance(await cause_of_failure(stream), UnknownUIDError)
        opened, accepted = await connected.open_pair()
        await opened.send_all(b"fine")
        assert await accepted.receive_some() == b"fine"


@pytest.mark.parametrize(
    "names", [{"protocol": "two\nlines"}, {"protocol": "p" * 129}, {"uid": ""}, {"uid": "\n"}]
)
async def test_wrong_names_are_a_mistake_of_the_caller(names: dict[str, str]) -> None:
    async with open_connected() as connected:
        with pytest.raises(LocalProtocolError):
            await connected.opener.open_stream(**names)
        assert connected.opener.statistics().streams == 0


# Streams of the side that has accepted the connection.


async def test_both_sides_open_streams() -> None:
    async with open_connected() as connected:
        opened = await connected.acceptor.open_stream(protocol="news")
        await opened.send_all(b"there is something new")
        accepted = await connected.opener.accept()
        assert accepted.protocol == "news"
        assert accepted.peer_id == connected.opener.peer_id
        assert await accepted.receive_some() == b"there is something new"


async def test_accept_that_is_cancelled_takes_no_stream() -> None:
    async with open_connected() as connected:
        with trio.move_on_after(0) as scope:
            await connected.opener.accept()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connected.opener.accept)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="the test")
        await (await connected.acceptor.open_stream()).send_all(b"still there")
        assert await (await connected.opener.accept()).receive_some() == b"still there"


async def test_streams_are_refused_by_a_side_that_did_not_say_that_it_accepts_some() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        receiver.listen("receiver") as listener,
        open_peer(broker.address) as sender,
    ):
        connection = await sender.connect("receiver")
        await connection.open_stream()
        other = (await listener.accept()).connection
        refused = await other.open_stream()
        cause = await cause_of_failure(refused)
        assert isinstance(cause, StreamAbortedError)
        assert "no streams are accepted here" in str(cause)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.accept)
            await trio.testing.wait_all_tasks_blocked()
            await other.open_stream()


async def test_streams_of_the_side_that_made_the_connection_go_to_listeners() -> None:
    async with open_connected() as connected:
        with pytest.raises(LocalProtocolError, match="go to listeners"):
            await connected.acceptor.accept()
        with pytest.raises(LocalProtocolError, match="go to listeners"):
            await connected.acceptor.serve(trio.aclose_forcefully)


@pytest.mark.parametrize("has_nursery", [True, False])
async def test_serve_runs_a_handler_for_each_stream_until_the_connection_is_over(
    *, has_nursery: bool
) -> None:
    async def echo(stream: P2PStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def serve() -> None:
        await connected.opener.serve(echo, handler_nursery=nursery if has_nursery else None)
        ended.set()

    ended = trio.Event()
    async with open_connected() as connected, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        streams = await open_all(connected.acceptor, 3)
        for number, stream in enumerate(streams):
            await stream.send_all(bytes([number]))
        for number, stream in enumerate(streams):
            assert await stream.receive_some() == bytes([number])
            await stream.aclose()
        await connected.acceptor.aclose()
        with trio.fail_after(PATIENCE):
            await ended.wait()


# Limits.


async def test_a_stream_waits_until_another_one_is_over() -> None:
    async with open_connected(max_streams=EARLY_STREAMS) as connected:
        pairs = [await connected.open_pair() for _ in range(EARLY_STREAMS)]
        async with trio.open_nursery() as nursery:
            late: list[P2PStream] = []

            async def open_late() -> None:
                late.append(await connected.opener.open_stream())

            nursery.start_soon(open_late)
            await trio.testing.wait_all_tasks_blocked()
            for stream in pairs[0]:
                await trio.testing.wait_all_tasks_blocked()
                assert not late
                await stream.aclose()
        await late[0].send_all(b"at last")
        assert await (await connected.listener.accept()).receive_some() == b"at last"


@pytest.mark.parametrize("how", ["cancelled", "closed", "broken", "left by the peer"])
async def test_a_stream_that_waits_is_not_opened_when_that_ends(how: str) -> None:
    async def open_late(error: type[Exception] | None) -> None:
        if error is None:
            await connected.opener.open_stream()
            pytest.fail("there was no room")
        with pytest.raises(error):
            await connected.opener.open_stream()

    async with open_connected(max_streams=EARLY_STREAMS) as connected:
        await open_all(connected.opener, EARLY_STREAMS)
        async with trio.open_nursery() as nursery:
            error = {"cancelled": None, "closed": trio.ClosedResourceError}.get(
                how, trio.BrokenResourceError
            )
            nursery.start_soon(open_late, error)
            await trio.testing.wait_all_tasks_blocked()
            match how:
                case "cancelled":
                    nursery.cancel_scope.cancel(reason="the test")
                case "closed":
                    await connected.opener.aclose()
                case "broken":
                    connected.opener.carrier.fail(PathLostError("the test has cut it"))
                case _:
                    await connected.acceptor.aclose()
        is_open = how == "cancelled"
        assert connected.opener.statistics().streams == (EARLY_STREAMS if is_open else 0)


async def test_a_connection_that_has_no_more_numbers_is_not_used_any_more() -> None:
    async with open_connected() as connected:
        connected.opener._streams._multiplexer._table.next_number = MAX_STREAM_NUMBER - 1
        await connected.opener.open_stream()
        assert not connected.opener.is_usable
        with pytest.raises(trio.BrokenResourceError, match="takes no more streams"):
            await connected.opener.open_stream()
        stream = await connected.sender.open_stream("receiver")
        assert stream.connection is not connected.opener


# Ends.


async def test_closing_aborts_open_streams_and_lets_closed_ones_deliver() -> None:
    async with open_connected() as connected:
        opened, accepted = await connected.open_pair()
        closed, delivered = await connected.open_pair()
        await closed.send_all(b"all of it")
        await trio.aclose_forcefully(closed)
        assert connected.opener.statistics().streams == 2
        await connected.opener.aclose()
        assert connected.opener.is_over
        assert connected.opener.path is None
        assert b"".join([data async for data in delivered]) == b"all of it"
        assert isinstance(await cause_of_failure(accepted), StreamAbortedError)
        with pytest.raises(trio.ClosedResourceError):
            await opened.receive_some()
        for use in (
            connected.opener.open_stream,
            connected.opener.accept,
            lambda: connected.opener.wait_path_changed(None),
        ):
            with pytest.raises(trio.ClosedResourceError, match="connect again"):
                await use()
        await connected.opener.aclose()
        with pytest.raises(trio.BrokenResourceError, match="the peer has closed"):
            await connected.acceptor.open_stream()


async def test_closing_that_is_cancelled_closes() -> None:
    async with open_connected() as connected:
        _, accepted = await connected.open_pair()
        await trio.aclose_forcefully(connected.opener)
        assert isinstance(await cause_of_failure(accepted), StreamAbortedError)
        await until(lambda: connected.opener.is_over and connected.acceptor.is_over)


async def test_a_stream_that_comes_while_the_connection_is_closed_is_refused() -> None:
    async with open_connected() as connected:
        stream = await connected.acceptor.open_stream()
        connected.opener.begin_closing()
        assert isinstance(await cause_of_failure(stream), StreamAbortedError)


async def test_a_broken_connection_says_why() -> None:
    async with open_connected() as connected:
        stream, _ = await connected.open_pair()
        connected.opener.carrier.fail(PathLostError("the test has cut it"))
        for use in (
            connected.opener.open_stream,
            connected.opener.accept,
            lambda: connected.opener.wait_path_changed(None),
        ):
            with pytest.raises(trio.BrokenResourceError, match="the test has cut it"):
                await use()
        assert isinstance(await cause_of_failure(stream), PathLostError)
        await stream.aclose()


async def test_a_connection_without_streams_is_closed_after_a_while_unless_it_is_kept() -> None:
    async with open_connected() as connected:
        opener = connected.opener
        stream, accepted = await connected.open_pair()
        opener._is_kept = False
        opener.look_after(trio.current_time() + 2 * IDLE_TIME)
        assert opener.is_usable  # there is a stream
        await stream.aclose()
        await accepted.aclose()
        await until(lambda: opener.statistics().streams == 0)
        opener.look_after(trio.current_time() + IDLE_TIME - 1)
        opener.keep()
        opener.look_after(trio.current_time() + 2 * IDLE_TIME)
        assert opener.is_usable
        opener._is_kept = False
        opener.look_after(trio.current_time() + IDLE_TIME + 1)
        with pytest.raises(trio.BrokenResourceError):
            await opener.open_stream()
        await until(lambda: opener.is_over and connected.acceptor.is_over)


async def test_a_close_that_makes_no_progress_is_given_up() -> None:
    async with open_connected() as connected, trio.open_nursery() as nursery:
        opened, accepted = await connected.open_pair()
        await clog(opened)

        async def close() -> None:
            with pytest.raises(trio.BrokenResourceError, match="did not take what was left"):
                await opened.aclose()

        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        connected.opener.look_after(now + CLOSING_TIME - 1)
        assert not opened.is_over
        connected.opener.look_after(now + CLOSING_TIME + 1)
        with pytest.raises(trio.BrokenResourceError):
            async for _ in accepted:
                pass


# What is known of it.


async def test_what_a_connection_has_done_is_counted() -> None:
    async with open_connected() as connected:
        opened, accepted = await connected.open_pair()
        await opened.send_all(bytes(100_000))
        received = 0
        while received < 100_000:
            received += len(await accepted.receive_some())
        await opened.aclose()
        ours, theirs = connected.opener.statistics(), connected.acceptor.statistics()
        assert ours.streams == theirs.streams == 1  # it is not closed there
        assert 100_000 < ours.sent <= theirs.received < 101_000
        assert ours.moves == 0
        assert ours.round_trip is not None
        assert 0 < ours.round_trip < PATIENCE


async def test_tasks_learn_of_another_path() -> None:
    async def wait(use: Callable[[], Awaitable[object]]) -> None:
        await use()
        learned.append(use)

    learned: list[object] = []
    async with open_connected(path="relay") as connected:
        stream, _ = await connected.open_pair()
        path = connected.opener.path
        assert path is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, lambda: connected.opener.wait_path_changed(path))
            nursery.start_soon(wait, lambda: stream.wait_path_changed(path))
            await trio.testing.wait_all_tasks_blocked()
            reset(path)
        assert len(learned) == 2


async def test_another_path_is_of_use_when_the_other_side_knows_the_connection() -> None:
    """Else a stream that is opened over it may be lost: the peer may have been restarted."""
    async with open_connected(path="relay") as connected:
        stream, accepted = await connected.open_pair()
        await accepted.send_all(b"x")
        assert await stream.receive_some() == b"x"
        opener, path = connected.opener, connected.opener.path
        assert path is not None
        reset(path)
        await opener.wait_path_changed(path)
        assert await opener.wait_usable()
        assert opener.path is not None
        assert opener.carrier.session.state is SessionState.ATTACHED
        await accepted.send_all(b"y")
        assert await stream.receive_some() == b"y"
