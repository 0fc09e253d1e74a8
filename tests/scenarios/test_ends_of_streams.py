"""Streams end in one way or another, and their connection goes on: nothing is left of them."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_p2p import Identity, P2PStream, PathLostError
from trio_p2p._stream.credit import FIRST_CREDIT
from trio_p2p._stream.stream_frames import DEFAULT_NAMES, open_frame

from ..kit.connections import Connected, clog, open_connected
from ..kit.loopback import PATIENCE, until
from ..kit.raw_connection import open_raw_connection
from ..kit.streams import open_peers


async def read(stream: P2PStream) -> bytes:
    return b"".join([data async for data in stream])


async def end_by_eof(opened: P2PStream, accepted: P2PStream) -> None:
    for end in (opened, accepted):
        await end.send_all(b"the end")
        await end.send_eof()
    for end in (opened, accepted):
        assert await read(end) == b"the end"
    await opened.aclose()
    await accepted.aclose()


async def close_both(opened: P2PStream, accepted: P2PStream) -> None:
    async with trio.open_nursery() as nursery:
        for end in (opened, accepted):
            await end.send_all(b"the end")
            nursery.start_soon(end.aclose)


async def close_one_first(opened: P2PStream, accepted: P2PStream) -> None:
    await clog(accepted)
    await opened.aclose()
    await accepted.aclose()


async def close_and_give_up(opened: P2PStream, accepted: P2PStream) -> None:
    await clog(opened)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.aclose)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="it takes too long")
    accepted.abort()


async def abort_one(opened: P2PStream, accepted: P2PStream) -> None:
    await clog(opened)
    await clog(accepted)
    opened.abort("enough")
    with pytest.raises(trio.BrokenResourceError):
        await read(accepted)
    await accepted.aclose()


async def abort_both(opened: P2PStream, accepted: P2PStream) -> None:
    await clog(opened)
    opened.abort("enough")
    accepted.abort("enough")


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    "end",
    [end_by_eof, close_both, close_one_first, close_and_give_up, abort_one, abort_both],
)
async def test_nothing_is_left_of_a_stream(
    end: Callable[[P2PStream, P2PStream], Awaitable[None]], is_reversed: bool
) -> None:
    async with open_connected() as connected:
        for make in (connected.open_pair, connected.open_pair_back):
            one, other = await make()
            with trio.fail_after(PATIENCE):
                await (end(other, one) if is_reversed else end(one, other))
        await connected.wait_empty()


async def test_two_tasks_close_a_stream_and_one_gives_up() -> None:
    async with open_connected() as connected, trio.open_nursery() as nursery:
        opened, accepted = await connected.open_pair()
        await clog(opened)
        impatient = trio.CancelScope()

        async def close_impatiently() -> None:
            with impatient:
                await opened.aclose()

        nursery.start_soon(close_impatiently)
        nursery.start_soon(opened.aclose)
        await trio.testing.wait_all_tasks_blocked()
        impatient.cancel(reason="it takes too long")
        await trio.testing.wait_all_tasks_blocked()
        assert await read(accepted)
        await accepted.aclose()


@pytest.mark.parametrize("is_closed_before", [False, True])
async def test_close_ends_when_the_connection_does(is_closed_before: bool) -> None:
    async def close() -> None:
        with pytest.raises(trio.BrokenResourceError) as failure:
            await accepted.aclose()
        assert isinstance(failure.value.__cause__, PathLostError)

    async with (
        open_peers(grace=0.0) as peers,
        open_raw_connection(peers, Identity.generate()) as connection,
        trio.open_nursery() as nursery,
    ):
        await connection.say(open_frame(0, DEFAULT_NAMES, FIRST_CREDIT))
        accepted = await peers.listener.accept()
        if is_closed_before:
            await trio.aclose_forcefully(accepted)
        else:
            nursery.start_soon(close)
        await until(lambda: accepted.is_over)
        connection.path.close()  # without a word that the end has come
        if is_closed_before:
            await until(lambda: accepted.connection.is_over)
            with trio.fail_after(PATIENCE):
                await close()


async def test_close_ends_if_it_is_never_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._stream.streams.CLOSING_TIME", 0.1)
    monkeypatch.setattr("trio_p2p._stream.open_connections.LOOKING_TIME", 0.1)
    async with (
        open_peers(grace=0.1) as peers,
        open_raw_connection(peers, Identity.generate()) as connection,
        trio.open_nursery() as nursery,
    ):
        connection.acknowledges = False
        nursery.start_soon(connection.listen)
        await connection.say(open_frame(0, DEFAULT_NAMES, FIRST_CREDIT))
        accepted = await peers.listener.accept()
        with trio.fail_after(PATIENCE), pytest.raises(trio.BrokenResourceError) as failure:
            await accepted.aclose()
        assert isinstance(failure.value.__cause__, PathLostError)
        assert not accepted.connection.is_over
        nursery.cancel_scope.cancel(reason="the test is over")


# Accepting


async def close(connected: Connected) -> None:
    await connected.acceptor.aclose()


async def leave(connected: Connected) -> None:
    await connected.opener.aclose()


async def break_(connected: Connected) -> None:
    connected.opener.carrier.fail(PathLostError("the test has cut it"))


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (close, trio.BrokenResourceError),
        (leave, trio.ClosedResourceError),
        (break_, trio.BrokenResourceError),
    ],
)
async def test_accept_ends_with_its_connection(
    end: Callable[[Connected], Awaitable[None]], error: type[Exception]
) -> None:
    async def accept() -> None:
        with pytest.raises(error):
            await connected.opener.accept()

    async with open_connected() as connected, trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE):
            await end(connected)
            await connected.opener.serve(trio.aclose_forcefully)
        await accept()


async def test_stream_that_came_before_the_connection_broke_is_accepted() -> None:
    async with open_connected() as connected:
        async with await connected.acceptor.open_stream() as opened:
            await opened.send_all(b"hello")
        await break_(connected)
        accepted = await connected.opener.accept()
        assert await read(accepted) == b"hello"
        with pytest.raises(trio.BrokenResourceError):
            await connected.opener.accept()
