"""Connections between two peers over loopback: what their streams share, and how they end."""

import math
import socket

import pytest
import trio

from trio_p2p._stream import path_writer
from trio_p2p._stream.substream import OUTBOX_BYTES

from ..kit.connections import clog
from ..kit.loopback import PATIENCE, until
from ..kit.streams import open_peers, reset


@pytest.mark.usefixtures("no_heartbeats")
@pytest.mark.parametrize("is_opener", [True, False])
async def test_closing_a_stream_takes_a_round_trip(is_opener: bool) -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        with trio.fail_after(PATIENCE):
            await (opened if is_opener else accepted).aclose()
            await (accepted if is_opener else opened).aclose()
        assert not any(each.connection._streams._asked for each in (opened, accepted))


async def test_close_that_is_cancelled_leaves_nothing_behind() -> None:
    async with open_peers(grace=0.2) as peers:
        opened, _ = await peers.open_pair("direct")
        await peers.broker.kill()
        assert opened.path is not None
        reset(opened.path)
        await until(lambda: opened.path is None)
        with trio.move_on_after(0.05) as scope:
            await opened.aclose()
        assert scope.cancelled_caught
        assert not opened.connection._streams._asked


async def test_close_that_ends_the_connection_succeeds() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        await peers.listener.aclose()  # so that the connection ends with its last stream
        await until(lambda: not opened.connection.is_usable)
        with trio.fail_after(PATIENCE):
            await opened.aclose()
            await accepted.aclose()
        await until(lambda: opened.connection.is_over and accepted.connection.is_over)


async def test_end_of_the_connection_cuts_no_stream_short_that_has_ended() -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        await peers.listener.aclose()
        await until(lambda: not opened.connection.is_usable)
        with trio.fail_after(PATIENCE):
            await accepted.send_eof()
            assert await opened.receive_some() == b""
            await opened.send_all(b"the last words")
            await opened.aclose()  # with the last stream the connection ends
            await until(lambda: accepted.connection.is_over)
            assert await accepted.receive_some() == b"the last words"
            assert await accepted.receive_some() == b""
            await accepted.send_eof()
            await accepted.aclose()


async def test_path_that_is_slow_stays_so_when_a_transfer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(path_writer, "SLOW_RATE", math.inf)
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        carrier = opened.connection.carrier
        session = carrier.session
        assert carrier._worker is not None
        sock = carrier._worker.path._connection._socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that it waits for room
        await clog(opened)
        assert session.is_slow
        with trio.fail_after(PATIENCE):
            received = len(await accepted.receive_some())
            while received < opened._state.sent + OUTBOX_BYTES - opened._state.room:
                received += len(await accepted.receive_some())
            await opened.send_all(b"a little")
            assert await accepted.receive_some() == b"a little"
        assert session.is_slow
