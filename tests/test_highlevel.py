"""The sender's side of the public API, and what streams promise, on the loopback interface."""

import errno
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest
import trio
import trio.testing
from trio.abc import HalfCloseableStream

from trio_p2p import (
    Attempt,
    AttemptFailedError,
    BrokerLostError,
    BrokerUnreachableError,
    Identity,
    IntroductionError,
    LocalProtocolError,
    Outcome,
    P2PError,
    P2PSender,
    P2PStream,
    PathKind,
    PeerId,
    RelayError,
    StreamAbortedError,
    Technique,
    UnknownUIDError,
    WrongPeerError,
    open_p2p_listener,
    open_p2p_sender,
    open_p2p_stream,
    serve_broker,
)
from trio_p2p._addresses import Endpoint
from trio_p2p._broker_client import connection as broker_connection
from trio_p2p._broker_client.connection import KEEPALIVE_TIME, BrokerConnection
from trio_p2p._traversal.checked_socket import CheckedSocket
from trio_p2p._wire.messages import KeepAlive

from .kit.loopback import (
    DIRECT_TECHNIQUES,
    HOST,
    PATIENCE,
    WAYS,
    Way,
    held,
    nobody_listening,
    open_broker,
    open_raw_pair,
    open_raw_peers,
    open_session_pair,
    open_session_peers,
    until,
)

PEER_ID = "p2prvpj7yhnhhrb4p4ftlzrrwb3njkj46ctg6s5bctn"  # somebody's
PROOF = random.Random("proof").randbytes(32)


class OwnError(Exception):
    """Raised by a test itself."""


async def open_in_vain(uid: str | PeerId, broker: Any, **options: Any) -> None:
    async with open_p2p_stream(uid, broker, **options):
        pytest.fail("there is a stream")


# Opening


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
async def test_raw_stream_is_a_plain_one_and_attempts_are_told(technique: Technique) -> None:
    def check(opened: trio.SocketStream) -> None:
        assert type(opened) is trio.SocketStream
        assert {attempt.technique for attempt in attempts} == {technique}
        [success] = [a for a in attempts if a.outcome is Outcome.CONNECTED]
        assert success.local is not None
        assert success.local.sockaddr == opened.socket.getsockname()
        assert success.remote is not None
        assert success.remote.sockaddr == opened.socket.getpeername()
        assert 0 <= success.seconds < PATIENCE

    async with open_raw_peers("receiver", technique) as (broker, listener, sender):
        attempts: list[Attempt] = []
        async with (
            open_p2p_stream(
                "receiver",
                broker.address,
                raw=True,
                techniques=[technique],
                on_attempt=attempts.append,
            ) as opened,
            await listener.accept(),
        ):
            check(opened)
        attempts.clear()
        async with (
            await sender.open_stream("receiver", raw=True, on_attempt=attempts.append) as opened,
            await listener.accept(),
        ):
            check(opened)


@pytest.mark.parametrize("technique", Technique)
async def test_stream_tells_its_path_and_its_peer(technique: Technique) -> None:
    def check(opened: P2PStream, accepted: P2PStream) -> None:
        path = opened.path
        assert path is not None
        kind = PathKind.RELAY if technique is Technique.RELAY else PathKind.DIRECT
        assert (path.kind, path.technique) == (kind, technique)
        [success] = [a for a in attempts if a.outcome is Outcome.CONNECTED]
        assert (success.technique, success.local, success.remote) == (
            technique,
            path.local,
            path.remote,
        )
        its_path = accepted.path
        assert its_path is not None
        assert (its_path.kind, its_path.technique) == (kind, technique)
        if kind is PathKind.DIRECT:
            assert (its_path.local, its_path.remote) == (path.remote, path.local)
        else:
            assert path.remote.sockaddr == its_path.remote.sockaddr == broker.address
        assert opened.peer_id == listener.peer_id

    identity = Identity.generate()
    async with open_session_peers("receiver", technique) as (broker, listener, sender):
        attempts: list[Attempt] = []
        async with (
            open_p2p_stream(
                "receiver",
                broker.address,
                identity=identity,
                techniques=[technique],
                on_attempt=attempts.append,
            ) as opened,
            await listener.accept() as accepted,
        ):
            check(opened, accepted)
            assert accepted.peer_id == identity.peer_id
        attempts.clear()
        async with (
            await sender.open_stream("receiver", on_attempt=attempts.append) as opened,
            await listener.accept() as accepted,
        ):
            check(opened, accepted)
            assert accepted.peer_id == sender.peer_id


async def test_stream_is_opened_by_whichever_way_is_allowed() -> None:
    async with open_session_peers("receiver") as (broker, listener, sender):
        for path, kinds in (
            ("any", set(PathKind)),
            ("direct", {PathKind.DIRECT}),
            ("relay", {PathKind.RELAY}),
        ):
            async with await sender.open_stream("receiver", path=path) as opened:
                assert opened.path is not None
                assert opened.path.kind in kinds
            async with open_p2p_stream("receiver", broker.address, path=path) as opened:
                assert opened.path is not None
                assert opened.path.kind in kinds
        await until(lambda: listener.statistics().connected == 6)


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "session"])
async def test_unknown_uid(is_raw: bool) -> None:
    options = {"raw": True} if is_raw else {}
    async with open_broker() as broker, open_p2p_sender(broker.address) as sender:
        with pytest.raises(UnknownUIDError, match="check its spelling"):
            await open_in_vain("nobody", broker.address, **options)

        async def ask() -> None:
            with pytest.raises(UnknownUIDError):
                await sender.open_stream("nobody", **options)  # type: ignore[call-overload]

        for _ in range(3):
            await ask()
        await trio.testing.wait_all_tasks_blocked()
        before = held()
        for _ in range(20):
            await ask()
        await until(lambda: held() == before)


@pytest.mark.parametrize("path", ["any", "direct", "relay"])
async def test_broker_unreachable(path: str) -> None:
    with nobody_listening() as address:
        with pytest.raises(BrokerUnreachableError):
            await open_in_vain("receiver", address, path=path)
        async with open_p2p_sender(address) as sender:
            with pytest.raises(BrokerUnreachableError):
                await sender.open_stream("receiver", path=path)
            with pytest.raises(BrokerUnreachableError):
                await sender.open_stream("receiver", raw=True)


async def test_broker_cannot_be_found() -> None:
    with pytest.raises(BrokerUnreachableError, match="check its name"):
        await open_in_vain("receiver", "no-such-host.invalid:1")


async def test_broker_lost() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        serve = trio.serve_tcp
        listeners = await nursery.start(serve, hang_up, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(BrokerLostError, match="try again"):
            await open_in_vain("receiver", ("127.0.0.1", port))
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("broker", ["", "host", "host:", "host:0", ":1", ("host", 65536), None])
async def test_bad_broker(broker: str) -> None:
    with pytest.raises(LocalProtocolError, match="give HOST:PORT"):
        await open_in_vain("receiver", broker)
    with pytest.raises(LocalProtocolError, match="give HOST:PORT"):
        async with open_p2p_sender(broker):
            pytest.fail("a sender for nonsense")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"techniques": ["slow"]}, "choose from 'fast', 'classic', 'relay'"),
        ({"path": "shortest"}, "choose from 'any', 'direct', 'relay'"),
        ({"path": "relay", "techniques": ["fast"]}, "leads to a relay path"),
        ({"expect": "bob"}, "is not a peer id"),
        ({"raw": True, "techniques": ["relay"]}, "leads to a direct path"),
        ({"raw": True, "path": "relay"}, "raw streams prove nobody's identity"),
        ({"raw": True, "expect": PEER_ID}, "never relayed: leave"),
        ({"window": 1}, "is no window"),
        ({"grace": -1}, "is no time"),
    ],
    ids=repr,
)
async def test_bad_arguments(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        await open_in_vain("receiver", "127.0.0.1:1", **options)
    assert sentence in str(caught.value)


async def test_bad_uid() -> None:
    with pytest.raises(LocalProtocolError, match="no UID"):
        await open_in_vain("", "127.0.0.1:1")
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
            await open_in_vain("receiver", broker.address, techniques=["fast"])
        cause = caught.value.__cause__
        assert isinstance(cause, ExceptionGroup)
        [failure] = cause.exceptions
        assert isinstance(failure, AttemptFailedError)
        assert failure.attempt.outcome is Outcome.NOT_INTRODUCED
        with pytest.raises(IntroductionError, match="could not introduce us"):
            await open_in_vain("receiver", broker.address, path="relay")
        async with open_p2p_stream(
            "receiver", broker.address, path="direct", on_attempt=attempts.append
        ):
            assert attempts[0].technique is Technique.FAST
            assert attempts[0].outcome is Outcome.NOT_INTRODUCED
            assert attempts[-1].technique is Technique.CLASSIC
            assert attempts[-1].outcome is Outcome.CONNECTED


async def test_stream_of_a_kind_that_the_receiver_does_not_take() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("raw", broker.address, raw=True) as raw,
        open_p2p_listener("session", broker.address) as session,
    ):
        for path in ("any", "direct", "relay"):
            with pytest.raises(LocalProtocolError, match="raw"):
                await open_in_vain("raw", broker.address, path=path)
        with pytest.raises(LocalProtocolError, match="raw"):
            await open_in_vain("session", broker.address, raw=True)
        assert raw.statistics().introductions == session.statistics().introductions == 0


async def test_broker_that_does_not_relay(nursery: trio.Nursery) -> None:
    listeners = await nursery.start(
        lambda **options: serve_broker(0, host=HOST, relay=None, **options)
    )
    address = listeners[0].socket.getsockname()[:2]
    async with open_p2p_listener("receiver", address):
        with pytest.raises(RelayError, match="does not relay"):
            await open_in_vain("receiver", address, path="relay")
        async with open_p2p_stream("receiver", address) as stream:
            assert stream.path is not None
            assert stream.path.kind is PathKind.DIRECT
    nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("path", ["any", "direct", "relay"])
async def test_peer_that_was_not_expected(path: str) -> None:
    stranger = Identity.generate().peer_id
    async with open_session_peers("receiver") as (broker, listener, sender):
        with pytest.raises(WrongPeerError) as caught:
            await open_in_vain("receiver", broker.address, path=path, expect=stranger)
        assert str(stranger) in str(caught.value)
        assert str(listener.peer_id) in str(caught.value)
        with pytest.raises(WrongPeerError):
            await sender.open_stream("receiver", path=path, expect=str(stranger))
        async with await sender.open_stream("receiver", path=path, expect=listener.peer_id):
            pass
        assert listener.statistics().connected == 1


async def test_peer_id_is_a_uid() -> None:
    identity = Identity.generate()
    async with (
        open_broker() as broker,
        open_p2p_listener(identity.peer_id, broker.address, identity=identity) as listener,
        open_p2p_stream(identity.peer_id, broker.address) as opened,
        await listener.accept(),
    ):
        assert opened.peer_id == identity.peer_id
        assert broker.uids == {listener.uid} == {str(identity.peer_id)}


async def test_exception_of_the_body_comes_out_bare_and_raw_streams_outlive_the_sender() -> None:
    async with open_broker() as broker:
        error = OwnError()
        async with open_p2p_listener("receiver", broker.address, raw=True) as listener:
            opened = None
            with pytest.raises(OwnError) as caught:  # noqa: PT012
                async with open_p2p_sender(broker.address) as sender:
                    opened = await sender.open_stream("receiver", raw=True)
                    raise error
            assert caught.value is error
            assert opened is not None
            async with opened, await listener.accept() as accepted:
                await opened.send_all(b"alive")
                assert await accepted.receive_some() == b"alive"


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_exception_of_the_body_comes_out_bare_and_the_stream_is_closed(way: Way) -> None:
    async with open_broker() as broker, way.open_listener("receiver", broker.address) as listener:
        await trio.testing.wait_all_tasks_blocked()
        before = held()
        error, opened, accepted = OwnError(), None, None
        with pytest.raises(OwnError) as caught:  # noqa: PT012
            async with way.open_stream("receiver", broker.address) as opened:
                accepted = await listener.accept()
                raise error
        assert caught.value is error
        assert opened is not None
        assert accepted is not None
        with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
            await opened.receive_some()
        await trio.aclose_forcefully(accepted)
        await until(lambda: held() == before)


async def test_streams_of_sessions_end_with_the_sender() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address) as listener,
    ):
        async with open_p2p_sender(broker.address) as sender:
            opened = await sender.open_stream("receiver")
            accepted = await listener.accept()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await opened.send_all(b"too late")
        assert isinstance(caught.value.__cause__, StreamAbortedError)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await accepted.receive_some()
        assert isinstance(caught.value.__cause__, StreamAbortedError)


async def test_sender_that_is_left_opens_no_more() -> None:
    async def open_in_vain(sender: P2PSender) -> None:
        with pytest.raises(trio.ClosedResourceError, match="the sender was closed"):
            await sender.open_stream("receiver")

    async def say_nothing(stream: trio.SocketStream) -> None:
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host=HOST))
        async with AsyncExitStack() as stack, trio.open_nursery() as others:
            sender = await stack.enter_async_context(open_p2p_sender(listener.socket.getsockname()))
            others.start_soon(open_in_vain, sender)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stack.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_host_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with open_broker() as broker, open_p2p_sender(broker.address) as sender:
        monkeypatch.setattr("trio_p2p._broker_client.resolve.start_connecting", refuse)
        with pytest.raises(P2PError, match="Too many open files"):
            await sender.open_stream("receiver")


async def test_connections_to_the_broker_are_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._connect.link_pool.MAX_ASKED", 1)
    async with open_raw_peers("receiver") as (broker, _, sender):
        for _ in range(3):
            await trio.aclose_forcefully(await sender.open_stream("receiver", raw=True))
        # Those of the registration, and of the next stream.
        await until(lambda: len(broker.broker._links) == 2)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_sender_finds_the_broker_again(way: Way) -> None:
    async with (
        open_broker() as broker,
        way.open_listener("receiver", broker.address) as listener,
        way.open_sender(broker.address) as sender,
        await way.open_stream_of(sender, "receiver"),
    ):
        await broker.kill()
        await broker.start()
        await until(lambda: listener.statistics().registrations == 2)
        async with await way.open_stream_of(sender, "receiver"):
            pass


# Streams


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
async def test_raw_streams_are_half_closeable(technique: Technique) -> None:
    async with open_raw_peers("receiver", technique) as (_, listener, sender):

        async def make_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            opened = await sender.open_stream("receiver", raw=True)
            return opened, await listener.accept()

        async def make_clogged_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            pair = await make_pair()
            for stream in pair:
                is_clogged = False
                while not is_clogged:
                    with trio.move_on_after(0.05) as patience:
                        await stream.send_all(bytes(65536))
                    is_clogged = patience.cancelled_caught
            return pair

        await trio.testing.check_half_closeable_stream(make_pair, make_clogged_pair)


@pytest.mark.parametrize("open_pair", [open_raw_pair, open_session_pair])
async def test_end_comes_through_without_data(open_pair: Any) -> None:
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


@pytest.mark.parametrize("open_pair", [open_raw_pair, open_session_pair])
async def test_sender_that_only_sends_and_closes_loses_nothing(open_pair: Any) -> None:
    data = bytes(2_000_000)
    for _ in range(5):
        async with open_pair() as (opened, accepted):
            received = 0

            async def send(stream: HalfCloseableStream) -> None:
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


async def tcp_pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = trio.socket.socket()
        await ours.connect(listener.getsockname())
        theirs, _ = await listener.accept()
    return ours, theirs


async def test_end_is_no_error_where_the_other_side_is_gone_before_the_proof() -> None:
    ours, theirs = await tcp_pair()
    async with trio.SocketStream(CheckedSocket(ours, says=PROOF)) as stream:
        theirs.close()
        assert await stream.receive_some() == b""
        await stream.send_eof()


async def test_end_of_a_connection_that_was_reset_is_an_error() -> None:
    ours, theirs = await tcp_pair()
    async with trio.SocketStream(CheckedSocket(ours)) as stream:
        await stream.send_all(b"nobody reads this")
        theirs.close()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_eof()


async def test_checked_socket_does_nothing_more_when_both_have_proven_themselves() -> None:
    ours, theirs = trio.socket.socketpair()
    with theirs, CheckedSocket(ours, says=PROOF, expects=PROOF) as checked:
        assert checked.send != ours.send
        assert checked.recv != ours.recv
        await theirs.send(PROOF + b"hello")
        assert await checked.recv(5) == b"hello"
        await checked.send(b"hello")
        assert await theirs.recv(100) == PROOF + b"hello"
        assert checked.send == ours.send
        assert checked.recv == ours.recv


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
            self.local = self.remote = Endpoint(IPv4Address(HOST), 4433)

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
    async with open_raw_peers("receiver") as (broker, _, sender):
        with pytest.raises(UnknownUIDError):
            await sender.open_stream("nobody", raw=True)
        states = {"receiver": "registered", "sender": "asking for receivers"}
        [connection] = [c for c in broker.broker._links if c.state.value == states[who]]
        first = connection.deadline
        await until(lambda: connection.deadline > first)
