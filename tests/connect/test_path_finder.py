"""Searches for paths: none of them ends the stream that it is for."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import pytest
import trio

from trio_p2p import Outcome, P2PError, Peer, open_p2p_listener, open_peer
from trio_p2p._connect.rounds import Round
from trio_p2p._control.control import Control
from trio_p2p._options import ALL_TECHNIQUES
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream.stream_path import PathKind

from ..kit.loopback import DIRECT_TECHNIQUES, echo, exchange, open_broker, open_session_peers

BUSY_TIME = 0.8  # seconds: longer than the first round lasts
DATA = b"some bytes" * 1000


async def with_sender(
    open_in_round: Callable[[Control, Round], Awaitable[PeerConnection | Outcome]],
    use: Callable[[Peer], Awaitable[None]],
    techniques: Sequence[str] = ALL_TECHNIQUES,
) -> None:
    """Use a sender whose rounds are a function's, with a receiver that echoes."""
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address) as listener,
        open_peer(broker.address, techniques=techniques) as sender,
        trio.open_nursery() as served,
    ):
        served.start_soon(trio.serve_listeners, echo, [listener])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trio_p2p._connect.rounds._open", open_in_round)
            await use(sender)
        served.cancel_scope.cancel()


@pytest.mark.parametrize("error", [ZeroDivisionError("a mistake"), OSError("no buffers")])
async def test_search_that_fails_leaves_the_stream_on_the_relay(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    searches = 0

    async def fail(*_: object) -> NoReturn:
        nonlocal searches
        searches += 1
        raise error

    async def use(sender: Peer) -> None:
        stream = await sender.open_stream("receiver")
        while searches < 3:  # the search goes on
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
        assert stream.path is not None
        assert stream.path.kind is PathKind.RELAY
        assert await exchange(stream, DATA) == DATA

    await with_sender(fail, use)
    if isinstance(error, ZeroDivisionError):
        assert "one search for a direct path failed" in caplog.text


async def test_search_that_fails_is_an_error_of_opening() -> None:
    async def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError("a mistake")

    async def use(sender: Peer) -> None:
        with pytest.raises(P2PError, match="see the log"):
            await sender.open_stream("receiver")

    await with_sender(fail, use, DIRECT_TECHNIQUES)


async def test_round_that_attempts_nothing_leaves_the_stream_on_the_relay() -> None:
    is_over = trio.Event()

    async def attempt_nothing(_: Control, round_: Round) -> Outcome:
        await trio.lowlevel.checkpoint()
        if round_.seconds == 6.0:  # the last one
            is_over.set()
        return Outcome.SILENT

    async def use(sender: Peer) -> None:
        stream = await sender.open_stream("receiver")
        await is_over.wait()
        assert await exchange(stream, DATA) == DATA

    await with_sender(attempt_nothing, use)


@pytest.mark.slow
@pytest.mark.once
async def test_busy_program_loses_no_connection() -> None:
    async def be_busy() -> None:
        while True:
            time.sleep(BUSY_TIME)  # noqa: ASYNC251 - which is the point
            await trio.sleep(0.2)

    async with open_session_peers("receiver") as (_, listener, sender), trio.open_nursery() as n:
        n.start_soon(trio.serve_listeners, echo, [listener])
        n.start_soon(be_busy)
        for number in range(100):
            stream = await sender.open_stream("receiver")
            data = b"%d" % number
            assert await exchange(stream, data) == data
            await stream.connection.aclose()
        n.cancel_scope.cancel()
