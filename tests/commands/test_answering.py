"""What answers ``ping`` and ``speed`` is bounded: in number, time and memory, and for whom."""

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from trio_p2p import NotAdmittedError, P2PStream, Peer, PeerId, StreamAbortedError, open_peer
from trio_p2p._commands import answering as module
from trio_p2p._commands.answering import ECHO, SINK, SOURCE, serve_answers

from ..kit.answering import answering, asking
from ..kit.commands import BrokerTool, peer_id
from ..kit.forwarding import exposing, open_service
from ..kit.loopback import open_broker

UID = "answers"


@asynccontextmanager
async def open_asking_peer(
    *, admitted: frozenset[PeerId] | None = None
) -> AsyncGenerator[tuple[Peer, Peer]]:
    """A peer that asks, and one that answers."""
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        admit = None if admitted is None else admitted.__contains__
        await nursery.start(serve_answers, receiver, UID, admit)
        yield sender, receiver
        nursery.cancel_scope.cancel()


async def _receive_all(stream: P2PStream) -> None:
    async for _ in stream:
        pass


async def test_one_speed_at_a_time() -> None:
    async with open_asking_peer() as (sender, _):
        async with await sender.open_stream(UID, protocol=SOURCE) as first:
            assert await first.receive_some()
            async with await sender.open_stream(UID, protocol=SINK) as second:
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await second.receive_some()
            assert isinstance(caught.value.__cause__, StreamAbortedError)
            assert "another speed is being measured" in str(caught.value.__cause__)
            assert await first.receive_some()
        # Afterwards the next one may.
        while True:
            stream = await sender.open_stream(UID, protocol=SINK)
            try:
                async with stream:
                    await stream.send_all(b"12345")
                    await stream.send_eof()
                    assert await stream.receive_some() == (5).to_bytes(8, "big")
            except trio.BrokenResourceError:
                continue  # the first one's end is on its way
            break


@pytest.mark.parametrize("protocol", [SINK, SOURCE])
async def test_a_speed_is_not_measured_for_ever(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SPEED_TIME", 0.01)
    async with (
        open_asking_peer() as (sender, _),
        await sender.open_stream(UID, protocol=protocol) as stream,
    ):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await _receive_all(stream)
    assert "for 0.01 seconds at most" in str(caught.value.__cause__)


async def test_a_silent_peer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SILENCE", 0.01)
    async with (
        open_asking_peer() as (sender, _),
        await sender.open_stream(UID, protocol=ECHO) as stream,
    ):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
    assert "nothing came for 0.01 seconds" in str(caught.value.__cause__)


async def test_echo_ends_with_its_peer() -> None:
    async with (
        open_asking_peer() as (sender, receiver),
        await sender.open_stream(UID, protocol=ECHO) as stream,
    ):
        await stream.send_all(b"ping")
        assert await stream.receive_some() == b"ping"
        await stream.send_eof()
        assert await stream.receive_some() == b""
        assert receiver.statistics().names == {UID}


@pytest.mark.parametrize("protocol", [ECHO, SINK, SOURCE])
async def test_only_peers_that_are_admitted(protocol: str) -> None:
    async with open_asking_peer(admitted=frozenset()) as (sender, _):
        with pytest.raises((NotAdmittedError, trio.BrokenResourceError)) as caught:
            async with await sender.open_stream(UID, protocol=protocol) as stream:
                await stream.receive_some()
    error = caught.value
    assert isinstance(error, NotAdmittedError) or isinstance(error.__cause__, NotAdmittedError)


@pytest.mark.once
def test_command_that_admits_some(broker: BrokerTool, uid: str) -> None:
    with answering(broker, uid, f"--admit={peer_id()}") as tool:
        with asking(broker, "ping", uid, "--count=1") as asks:
            assert asks.end()[0] == 0
        assert tool.signal(signal.SIGINT) == (130, b"", "")


@pytest.mark.once
def test_what_exposes_services_answers_those_that_it_admits(broker: BrokerTool, uid: str) -> None:
    with (
        open_service() as (_, place),
        exposing(broker, uid, place, f"--admit={peer_id()}"),
        asking(broker, "ping", uid, "--count=1") as asks,
    ):
        code, _, errors = asks.end()
    assert (code, errors) == (0, "")
    with (
        open_service() as (_, place),
        exposing(broker, uid, place),
        asking(broker, "ping", uid, "--count=1") as asks,
    ):
        code, _, errors = asks.end()
    assert code == 1
    assert "does not answer" in errors


@pytest.mark.once
def test_command_that_admits_others(broker: BrokerTool, uid: str) -> None:
    other = PeerId(bytes(23))
    with answering(broker, uid, f"--admit={other}"), asking(broker, "ping", uid) as asks:
        code, _, errors = asks.end()
    assert code == 1
    assert "does not admit" in errors
