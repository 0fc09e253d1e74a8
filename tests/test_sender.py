"""The sender's side of the public API, and what streams promise, on the loopback interface."""

import os
import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing

from trio_p2p import (
    Attempt,
    AttemptFailedError,
    BrokerLostError,
    BrokerUnreachableError,
    IntroductionError,
    LocalProtocolError,
    Outcome,
    Technique,
    UnknownUIDError,
    open_p2p_listener,
    open_p2p_sender,
    open_p2p_stream,
)
from trio_p2p._net import broker_connection
from trio_p2p._net.broker_connection import KEEPALIVE_TIME, BrokerConnection
from trio_p2p._net.checked_socket import CheckedSocket
from trio_p2p._wire.messages import KeepAlive

from .loopback import PATIENCE, held, open_broker, open_pair, open_peers, until

PROOF = random.Random("proof").randbytes(32)


class OwnError(Exception):
    """Raised by a test itself."""


# Opening


@pytest.mark.parametrize("technique", Technique)
async def test_stream_is_a_plain_one_and_attempts_are_told(technique: Technique) -> None:
    async with open_peers("receiver", technique) as (broker, listener, sender):
        openers: list[Callable[..., Awaitable[trio.SocketStream]]] = [
            partial(open_p2p_stream, "receiver", broker.address, techniques=[technique]),
            partial(sender.open_stream, "receiver"),
        ]
        for open_stream in openers:
            attempts: list[Attempt] = []
            async with (
                await open_stream(on_attempt=attempts.append) as opened,
                await listener.accept(),
            ):
                assert type(opened) is trio.SocketStream
                assert {attempt.technique for attempt in attempts} == {technique}
                [success] = [a for a in attempts if a.outcome is Outcome.CONNECTED]
                assert success.local is not None
                assert success.local.sockaddr == opened.socket.getsockname()
                assert success.remote is not None
                assert success.remote.sockaddr == opened.socket.getpeername()
                assert 0 <= success.seconds < PATIENCE


async def test_unknown_uid() -> None:
    async with open_broker() as broker, open_p2p_sender(broker.address) as sender:
        with pytest.raises(UnknownUIDError, match="check its spelling"):
            await open_p2p_stream("nobody", broker.address)
        for _ in range(3):
            with pytest.raises(UnknownUIDError):
                await sender.open_stream("nobody")
        await trio.testing.wait_all_tasks_blocked()
        before = held()
        for _ in range(20):
            with pytest.raises(UnknownUIDError):
                await sender.open_stream("nobody")
        assert held() == before


async def test_broker_unreachable() -> None:
    async with open_broker() as broker:
        pass
    with pytest.raises(BrokerUnreachableError):
        await open_p2p_stream("receiver", broker.address)
    async with open_p2p_sender(broker.address) as sender:
        with pytest.raises(BrokerUnreachableError):
            await sender.open_stream("receiver")


async def test_broker_cannot_be_found() -> None:
    with pytest.raises(BrokerUnreachableError, match="check its name"):
        await open_p2p_stream("receiver", "no-such-host.invalid:1")


async def test_broker_lost() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        serve = trio.serve_tcp
        listeners = await nursery.start(serve, hang_up, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(BrokerLostError, match="try again"):
            await open_p2p_stream("receiver", ("127.0.0.1", port))
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("broker", ["", "host", "host:", "host:0", ":1", ("host", 65536), None])
async def test_bad_broker(broker: str) -> None:
    with pytest.raises(LocalProtocolError, match="give HOST:PORT"):
        await open_p2p_stream("receiver", broker)
    with pytest.raises(LocalProtocolError, match="give HOST:PORT"):
        async with open_p2p_sender(broker):
            pytest.fail("a sender for nonsense")


async def test_bad_arguments() -> None:
    with pytest.raises(LocalProtocolError, match="no UID"):
        await open_p2p_stream("", "127.0.0.1:1")
    with pytest.raises(LocalProtocolError, match="choose from"):
        await open_p2p_stream("receiver", "127.0.0.1:1", techniques=["slow"])
    async with open_p2p_sender("127.0.0.1:1") as sender:
        with pytest.raises(LocalProtocolError, match="no UID"):
            await sender.open_stream("")


async def test_technique_that_the_receiver_does_not_want() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address, techniques=["classic"]),
    ):
        attempts: list[Attempt] = []
        with pytest.raises(IntroductionError) as caught:
            await open_p2p_stream("receiver", broker.address, techniques=["fast"])
        cause = caught.value.__cause__
        assert isinstance(cause, ExceptionGroup)
        [failure] = cause.exceptions
        assert isinstance(failure, AttemptFailedError)
        assert failure.attempt.outcome is Outcome.NOT_INTRODUCED
        async with await open_p2p_stream("receiver", broker.address, on_attempt=attempts.append):
            assert attempts[0].technique is Technique.FAST
            assert attempts[0].outcome is Outcome.NOT_INTRODUCED
            assert attempts[-1].technique is Technique.CLASSIC
            assert attempts[-1].outcome is Outcome.CONNECTED


async def test_exception_of_the_body_comes_out_bare_and_streams_outlive_the_sender() -> None:
    async with open_broker() as broker:
        error = OwnError()
        async with open_p2p_listener("receiver", broker.address) as listener:
            opened = None
            with pytest.raises(OwnError) as caught:  # noqa: PT012
                async with open_p2p_sender(broker.address) as sender:
                    opened = await sender.open_stream("receiver")
                    raise error
            assert caught.value is error
            assert opened is not None
            async with opened, await listener.accept() as accepted:
                await opened.send_all(b"alive")
                assert await accepted.receive_some() == b"alive"


async def test_sender_finds_the_broker_again() -> None:
    async with (
        open_peers("receiver") as (broker, listener, sender),
        await sender.open_stream("receiver"),
    ):
        await broker.kill()
        await broker.start()
        await until(lambda: listener.statistics().registrations == 2)
        async with await sender.open_stream("receiver"):
            pass


# Streams


@pytest.mark.parametrize("technique", Technique)
async def test_streams_are_half_closeable(technique: Technique) -> None:
    async with open_peers("receiver", technique) as (_, listener, sender):

        async def make_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            opened = await sender.open_stream("receiver")
            return opened, await listener.accept()

        async def make_clogged_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            pair = await make_pair()
            for stream in pair:
                with trio.move_on_after(0.1):
                    while True:
                        await stream.send_all(bytes(65536))
            return pair

        await trio.testing.check_half_closeable_stream(make_pair, make_clogged_pair)


async def test_end_comes_through_without_data() -> None:
    for _ in range(5):
        async with open_pair() as (opened, accepted):
            await accepted.send_eof()
            assert await opened.receive_some() == b""
            await opened.send_all(b"more")
            await opened.send_eof()
            assert await accepted.receive_some() == b"more"
            assert await accepted.receive_some() == b""
        async with open_pair() as (opened, accepted):
            await accepted.aclose()
            assert await opened.receive_some() == b""


async def test_sender_that_only_sends_and_closes_loses_nothing() -> None:
    data = bytes(2_000_000)
    for _ in range(5):
        async with open_pair() as (opened, accepted):
            received = 0

            async def send(stream: trio.SocketStream) -> None:
                async with stream:
                    await stream.send_all(data)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, opened)
                async for piece in accepted:
                    received += len(piece)
            assert received == len(data)


# The check of who answered, which comes with the first bytes


async def socket_pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    return trio.socket.socketpair()


async def test_proof_is_said_before_the_socket_is_detached() -> None:
    ours, theirs = await socket_pair()
    with theirs:
        os.close(CheckedSocket(ours, says=PROOF).detach())
        assert await theirs.recv(2 * len(PROOF)) == PROOF


async def test_proof_is_removed() -> None:
    ours, theirs = await socket_pair()
    async with (
        trio.SocketStream(CheckedSocket(ours, expects=PROOF)) as stream,
        trio.SocketStream(theirs) as other,
    ):
        await other.send_all(PROOF + b"data")
        assert await stream.receive_some() == b"data"
        await other.send_all(b"more")
        assert await stream.receive_some() == b"more"


@pytest.mark.parametrize(
    "said",
    [b"", PROOF[:-1], bytes(32), bytes(32) + b"data", PROOF[:-1] + b"\0" + PROOF],
    ids=["nothing", "too little", "wrong", "wrong, then data", "wrong, then right"],
)
async def test_not_a_byte_comes_from_a_wrong_peer(said: bytes) -> None:
    ours, theirs = await socket_pair()
    async with (
        trio.SocketStream(CheckedSocket(ours, expects=PROOF)) as stream,
        trio.SocketStream(theirs) as other,
    ):
        await other.send_all(said)
        await other.send_eof()
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="could not prove"):
                await stream.receive_some()


async def test_cancelled_check_keeps_what_it_has_read() -> None:
    ours, theirs = await socket_pair()
    async with (
        trio.SocketStream(CheckedSocket(ours, expects=PROOF)) as stream,
        trio.SocketStream(theirs) as other,
    ):
        for byte in PROOF:
            await other.send_all(bytes([byte]))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.receive_some)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel(reason="the test says so")
            assert scope.cancelled_caught
        await other.send_all(b"data")
        assert await stream.receive_some() == b"data"


async def test_proof_goes_before_the_first_bytes_and_once() -> None:
    ours, theirs = await socket_pair()
    async with (
        trio.SocketStream(CheckedSocket(ours, says=PROOF)) as stream,
        trio.SocketStream(theirs) as other,
    ):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test says so")
            await stream.send_all(b"never")
        assert scope.cancelled_caught
        await stream.send_all(b"data")
        await stream.send_all(b"more")
        await stream.send_eof()
        assert b"".join([piece async for piece in other]) == PROOF + b"datamore"


@pytest.mark.parametrize("ending", [trio.SocketStream.send_eof, trio.SocketStream.aclose])
async def test_proof_goes_before_the_end(
    ending: Callable[[trio.SocketStream], object],
) -> None:
    ours, theirs = await socket_pair()
    async with (
        trio.SocketStream(CheckedSocket(ours, says=PROOF)) as stream,
        trio.SocketStream(theirs) as other,
    ):
        await (stream.send_eof if ending is trio.SocketStream.send_eof else stream.aclose)()
        assert b"".join([piece async for piece in other]) == PROOF


async def test_checked_socket_is_a_socket() -> None:
    ours, theirs = await socket_pair()
    with theirs, CheckedSocket(ours) as checked:
        assert (checked.family, checked.type, checked.proto) == (ours.family, ours.type, ours.proto)
        assert checked.fileno() == ours.fileno()
        assert repr(ours) in repr(checked)
        before = checked.did_shutdown_SHUT_WR
        checked.shutdown(trio.socket.SHUT_WR)
        assert (before, checked.did_shutdown_SHUT_WR) == (False, True)
    assert checked.fileno() == -1
    checked.close()


# Keepalives


async def test_keepalive_every_30_seconds(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    sent_at: list[float] = []

    class Sink(BrokerConnection):
        def __init__(self) -> None:
            pass

        async def send(self, *messages: object) -> None:
            assert messages == (KeepAlive(),)
            sent_at.append(trio.current_time() - started_at)
            if len(sent_at) == 4:
                raise BrokerLostError

    started_at = trio.current_time()
    await Sink().keep_alive()
    assert sent_at == pytest.approx([30, 60, 90, 120])
    assert KEEPALIVE_TIME == 30


@pytest.mark.parametrize("who", ["receiver", "sender"])
async def test_keepalives_are_sent(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_connection, "KEEPALIVE_TIME", 0.01)
    async with open_peers("receiver") as (broker, _, sender):
        with pytest.raises(UnknownUIDError):
            await sender.open_stream("nobody")
        states = {"receiver": "registered", "sender": "asking for receivers"}
        [connection] = [c for c in broker.broker._links if c.state.value == states[who]]
        first = connection.deadline
        await until(lambda: connection.deadline > first)
