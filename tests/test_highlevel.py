"""Streams are opened: what is told of each, what goes wrong, and what all of them promise."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from trio.abc import HalfCloseableStream

from trio_p2p import (
    AttemptFailedError,
    BrokerLostError,
    BrokerUnreachableError,
    Identity,
    IntroductionError,
    LocalProtocolError,
    Outcome,
    P2PStream,
    PathKind,
    PeerId,
    RelayError,
    Technique,
    UnknownUIDError,
    WrongPeerError,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
    serve_broker,
    serve_p2p,
)

from .kit.loopback import (
    DIRECT_TECHNIQUES,
    HOST,
    TECHNIQUES,
    WAYS,
    AttemptTracer,
    Way,
    echo,
    held,
    nobody_listening,
    open_broker,
    open_listener,
    open_raw_listener,
    open_raw_pair,
    open_raw_peers,
    open_raw_stream,
    open_session_pair,
    open_session_peers,
    open_stream,
    settled,
    until,
)
from .kit.streams import open_peers


class OwnError(Exception):
    """Raised by a test itself."""


async def open_in_vain(uid: str | PeerId, broker: Any, **options: Any) -> None:
    async with open_stream(uid, broker, **options):
        pytest.fail("there is a stream")


# Opening


@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
async def test_raw_stream_is_a_plain_one_and_attempts_are_told(technique: Technique) -> None:
    def check(opened: trio.SocketStream) -> None:
        assert type(opened) is trio.SocketStream
        assert {attempt.technique for attempt in tracer.attempts} == {technique}
        [success] = [a for a in tracer.attempts if a.outcome is Outcome.CONNECTED]
        assert success.local is not None
        assert success.local.sockaddr == opened.socket.getsockname()
        assert success.remote is not None
        assert success.remote.sockaddr == opened.socket.getpeername()
        assert success.seconds >= 0

    tracer = AttemptTracer()
    async with (
        open_raw_peers("receiver", technique) as (broker, listener, _),
        open_peer(broker.address, techniques=[technique], tracer=tracer) as sender,
    ):
        for _ in range(2):
            tracer.attempts.clear()
            async with (
                await sender.open_raw_stream("receiver") as opened,
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
        [success] = [a for a in tracer.attempts if a.outcome is Outcome.CONNECTED]
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

    identity, tracer = Identity.generate(), AttemptTracer()
    async with (
        open_session_peers("receiver", technique) as (broker, listener, _),
        open_peer(
            broker.address, identity=identity, techniques=[technique], tracer=tracer
        ) as sender,
    ):
        for _ in range(2):
            tracer.attempts.clear()
            async with (
                await sender.open_stream("receiver") as opened,
                await listener.accept() as accepted,
            ):
                check(opened, accepted)
                assert accepted.peer_id == sender.peer_id == identity.peer_id
            await opened.connection.aclose()


async def test_stream_is_opened_by_whichever_way_is_allowed() -> None:
    async with open_peers() as peers:
        for path, kinds in (
            ("any", set(PathKind)),
            ("direct", {PathKind.DIRECT}),
            ("relay", {PathKind.RELAY}),
        ):
            async with await peers.senders[path].open_stream("receiver") as opened:
                assert opened.path is not None
                assert opened.path.kind in kinds
        await until(lambda: peers.listener.statistics().connected == 3)


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "session"])
async def test_unknown_uid(is_raw: bool) -> None:
    way = Way(is_raw=is_raw)
    async with open_broker() as broker, open_peer(broker.address) as sender:

        async def ask() -> None:
            with pytest.raises(UnknownUIDError, match="check the UID"):
                await way.open_stream_of(sender, "nobody")

        for _ in range(3):
            await ask()
        before = await settled()
        for _ in range(20):
            await ask()
        await until(lambda: held() == before)


@pytest.mark.parametrize("path", ["any", "direct", "relay"])
async def test_broker_unreachable(path: str) -> None:
    with nobody_listening() as address:
        with pytest.raises(BrokerUnreachableError):
            await open_in_vain("receiver", address, techniques=TECHNIQUES[path])
        with pytest.raises(BrokerUnreachableError):
            await open_raw_stream("receiver", address)


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
        async with open_peer(broker):
            pytest.fail("a sender for nonsense")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"techniques": ["slow"]}, "choose from 'fast', 'classic', 'relay'"),
        ({"expect": "bob"}, "is not a peer id"),
        ({"window": 1}, "is no window"),
        ({"grace": -1}, "is no time"),
    ],
    ids=repr,
)
async def test_bad_arguments(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        await open_in_vain("receiver", "127.0.0.1:1", **options)
    assert sentence in str(caught.value)


async def test_raw_stream_needs_a_direct_technique() -> None:
    with pytest.raises(LocalProtocolError, match="raw streams are never relayed"):
        await open_raw_stream("receiver", ("127.0.0.1", 1), techniques=["relay"])


async def test_bad_uid() -> None:
    with pytest.raises(LocalProtocolError, match="no UID"):
        await open_in_vain("", "127.0.0.1:1")
    async with open_peer("127.0.0.1:1") as sender:
        for open_stream_of_any_kind in (sender.open_stream, sender.open_raw_stream):
            with pytest.raises(LocalProtocolError, match="no UID"):
                await open_stream_of_any_kind("")


async def test_technique_that_the_receiver_does_not_want() -> None:
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address, techniques=["classic"]),
    ):
        tracer = AttemptTracer()
        with pytest.raises(IntroductionError) as caught:
            await open_in_vain("receiver", broker.address, techniques=["fast"])
        cause = caught.value.__cause__
        assert isinstance(cause, ExceptionGroup)
        [failure] = cause.exceptions
        assert isinstance(failure, AttemptFailedError)
        assert failure.attempt.outcome is Outcome.NOT_INTRODUCED
        with pytest.raises(IntroductionError, match="did not introduce this program to"):
            await open_in_vain("receiver", broker.address, techniques=["relay"])
        async with open_stream(
            "receiver", broker.address, techniques=DIRECT_TECHNIQUES, tracer=tracer
        ):
            attempts = tracer.attempts
            assert attempts[0].technique is Technique.FAST
            assert attempts[0].outcome is Outcome.NOT_INTRODUCED
            assert attempts[-1].technique is Technique.CLASSIC
            assert attempts[-1].outcome is Outcome.CONNECTED


async def test_stream_of_a_kind_that_the_receiver_does_not_take() -> None:
    async with (
        open_broker() as broker,
        open_raw_listener("raw", broker.address) as raw,
        open_p2p_listener("session", broker.address) as session,
    ):
        for techniques in TECHNIQUES.values():
            with pytest.raises(LocalProtocolError, match="raw"):
                await open_in_vain("raw", broker.address, techniques=techniques)
        with pytest.raises(LocalProtocolError, match="raw"):
            await open_raw_stream("session", broker.address)
        assert raw.statistics().introductions == session.statistics().introductions == 0


async def test_broker_that_does_not_relay(nursery: trio.Nursery) -> None:
    listeners = await nursery.start(
        lambda **options: serve_broker(0, host=HOST, relay=None, **options)
    )
    address = listeners[0].socket.getsockname()[:2]
    async with open_p2p_listener("receiver", address):
        with pytest.raises(RelayError, match="does not relay"):
            await open_in_vain("receiver", address, techniques=["relay"])
        async with open_p2p_stream("receiver", address) as stream:
            assert stream.path is not None
            assert stream.path.kind is PathKind.DIRECT
    nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("path", ["any", "direct", "relay"])
async def test_peer_that_was_not_expected(path: str) -> None:
    stranger = Identity.generate().peer_id
    async with open_peers() as peers:
        sender, listener = peers.senders[path], peers.listener
        for expected in (stranger, str(stranger)):
            with pytest.raises(WrongPeerError) as caught:
                await sender.open_stream("receiver", expect=expected)
            assert str(stranger) in str(caught.value)
            assert str(listener.peer_id) in str(caught.value)
        async with await sender.open_stream("receiver", expect=listener.peer_id):
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
        async with open_raw_listener("receiver", broker.address) as listener:
            opened = None
            with pytest.raises(OwnError) as caught:  # noqa: PT012
                async with open_peer(broker.address) as sender:
                    opened = await sender.open_raw_stream("receiver")
                    raise error
            assert caught.value is error
            assert opened is not None
            async with opened, await listener.accept() as accepted:
                await opened.send_all(b"alive")
                assert await accepted.receive_some() == b"alive"


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_exception_of_the_body_comes_out_bare_and_the_stream_is_closed(way: Way) -> None:
    async with open_broker() as broker, way.open_listener("receiver", broker.address) as listener:
        before = await settled()
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


# Streams


@pytest.mark.slow
@pytest.mark.parametrize("technique", DIRECT_TECHNIQUES)
async def test_raw_streams_are_half_closeable(technique: Technique) -> None:
    async with open_raw_peers("receiver", technique) as (_, listener, sender):

        async def make_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            opened = await sender.open_raw_stream("receiver")
            return opened, await listener.accept()

        async def make_clogged_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            pair = await make_pair()
            for stream in pair:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_forever, stream)
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    nursery.cancel_scope.cancel(reason="it is clogged")
            return pair

        async def send_forever(stream: trio.SocketStream) -> None:
            while True:
                await stream.send_all(bytes(65536))

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


# Arguments of a wrong form, through the front door.

NOWHERE = ("192.0.2.1", 9)  # nobody is asked before the arguments are right


@pytest.mark.parametrize(
    "uid", ["", "x" * 129, "a\nb", "\x00", b"alice", 5, None], ids=lambda uid: repr(uid)[:9]
)
async def test_bad_uid_is_refused_before_anybody_is_asked(uid: str) -> None:
    async def use_listener() -> None:
        async with open_p2p_listener(uid, NOWHERE):
            pass

    async def use_peer() -> None:
        async with open_peer(NOWHERE) as peer:
            await peer.open_stream(uid)

    async def use_raw() -> None:
        async with open_raw_listener(uid, NOWHERE):
            pass

    async def watch() -> None:
        async with open_peer(NOWHERE) as peer, peer.watch(uid):
            pass

    async def use_stream() -> None:
        async with open_p2p_stream(uid, NOWHERE):
            pass

    ways: list[Callable[[], Awaitable[object]]] = [
        use_listener,
        use_peer,
        use_stream,
        use_raw,
        watch,
        partial(open_raw_stream, uid, NOWHERE),
        partial(serve_p2p, echo, uid, NOWHERE),
    ]
    for way in ways:
        with pytest.raises(LocalProtocolError, match=r" is no UID: a UID (is|must) "):
            await way()


@pytest.mark.parametrize(
    ("broker", "techniques", "sentence"),
    [
        ("broker", ["fast"], "is no broker: give HOST:PORT"),
        (("broker", 70000), ["fast"], "is no broker: give HOST:PORT"),
        (NOWHERE, [], "fast"),
        (NOWHERE, "fast", "fast"),
        (NOWHERE, ["telepathy"], "telepathy"),
    ],
)
async def test_bad_broker_or_technique_is_refused_before_anybody_is_asked(
    broker: str, techniques: list[str], sentence: str
) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        async with open_peer(broker, techniques=techniques):
            pass
    assert sentence in str(caught.value)


async def test_bad_broker_is_refused_by_every_call() -> None:
    async def use_listener() -> None:
        async with open_p2p_listener("alice", "broker"):
            pass

    async def use_stream() -> None:
        async with open_p2p_stream("alice", "broker"):
            pass

    calls: list[Callable[[], Awaitable[object]]] = [
        use_listener,
        use_stream,
        partial(serve_p2p, echo, "alice", "broker"),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError, match="is no broker: give HOST:PORT"):
            await call()
