"""Introductions under way at a receiver: how many, for whom, and for how long."""

from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address

import attrs
import pytest
import trio

from trio_p2p import Identity, P2PStream, PathKind, open_p2p_listener, open_peer
from trio_p2p._addresses import Endpoint
from trio_p2p._broker_client.relay import ask_for_relay
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._listen import sessions
from trio_p2p._net.attempt_log import AttemptLog
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream.frames import MIN_WINDOW, Kind, PathHello
from trio_p2p._stream.handshake import secure
from trio_p2p._stream.path import Path
from trio_p2p._stream.tls import make_context
from trio_p2p._wire.messages import (
    ID_BYTES,
    INSTANCE_BYTES,
    NONCE_BYTES,
    ORIGIN_BYTES,
    ConnectionRequest,
    Decline,
    RelayRequest,
    SenderEndpoint,
)

from ..kit.attempts import NotedAttempts
from ..kit.fake_broker import open_fake_broker, register_client
from ..kit.loopback import PATIENCE, finder_of, nobody_listening, open_broker, until
from ..kit.raw_client import RawClient, identity_of
from ..kit.sinks import FrameSink
from ..kit.streams import Peers, open_peers

SLOTS = 4
MALLORY, HONEST = identity_of("mallory"), identity_of("honest")


@pytest.fixture
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._listen.introductions.MAX_INTRODUCTIONS", SLOTS)


@pytest.fixture
def silent_place() -> Iterator[Endpoint]:
    """Where a sender is said to be, and is not."""
    with nobody_listening() as (host, port):
        yield Endpoint(IPv4Address(host), port)


def nonces(count: int) -> Iterator[bytes]:
    return (number.to_bytes(NONCE_BYTES, "big") for number in range(count))


@pytest.mark.usefixtures("few_slots")
async def test_flood_by_one_identity_is_declined_and_others_are_not(
    silent_place: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    declined: list[bytes | None] = []
    is_over = trio.Event()

    async def flood(client: RawClient) -> None:
        await register_client(client)
        floods = [(nonce, MALLORY) for nonce in nonces(3 * SLOTS)]
        senders = [*floods, (b"H" * NONCE_BYTES, HONEST), (b"Z" * NONCE_BYTES, MALLORY)]
        for number, (nonce, sender) in enumerate(senders, 1):
            # Each from another port, as a port meets each endpoint once.
            place = attrs.evolve(silent_place, port=1024 + number)
            await client.send(SenderEndpoint(place, nonce, sender.certificate, registration=0))
        while len(declined) < 2 * SLOTS + 2:
            decline = await client.receive(Decline)
            assert decline.retry_after
            declined.append(decline.nonce)
        is_over.set()

    async with open_fake_broker(flood) as address, open_p2p_listener("a", address) as listener:
        with trio.fail_after(PATIENCE):
            await is_over.wait()
        # The oldest one has given way to the honest sender's.
        [oldest, *_], late = nonces(SLOTS), [*nonces(3 * SLOTS)][SLOTS:]
        assert {*declined} == {oldest, *late, b"Z" * NONCE_BYTES}
        await until(lambda: listener.statistics().failed == 2 * SLOTS + 2)
    lines = [record for record in caplog.records if "too many are under way" in record.msg]
    assert len(lines) == 1


@pytest.mark.usefixtures("few_slots")
async def test_requests_that_name_no_endpoint_are_shared_by_their_origin() -> None:
    declined: list[bytes | None] = []
    is_over = trio.Event()
    registered = False

    async def flood(client: RawClient) -> None:
        await register_client(client)
        mine, other = b"m" * ORIGIN_BYTES, b"o" * ORIGIN_BYTES
        names = [bytes([number]) * ID_BYTES for number in range(SLOTS + 3)]
        for name in names[:-2]:
            await client.send(ConnectionRequest(name, 0, mine))
        await client.send(RelayRequest(names[-2], HONEST.certificate, 0, other))
        await client.send(ConnectionRequest(names[-1], 0, mine))
        while len(declined) < 3:
            declined.append((await client.receive(Decline)).introduction)
        assert {*declined} == {names[0], names[SLOTS], names[-1]}
        is_over.set()

    async def answer(client: RawClient) -> None:
        nonlocal registered
        if registered:  # the connections of the introductions lead nowhere
            await trio.sleep_forever()
        registered = True
        await flood(client)

    async with open_fake_broker(answer) as address, open_p2p_listener("a", address):
        with trio.fail_after(PATIENCE):
            await is_over.wait()


async def open_relayed_path(peers: Peers, identity: Identity) -> Path:
    """A path through the relay, over which nothing is said yet."""
    broker = finder_of(*peers.broker.address)
    connection = await ask_for_relay(broker, "receiver", identity.certificate, NotedAttempts())
    path, _, _ = await secure(connection, make_context(identity), server_side=False)
    path.send_last_flight()
    return path


async def wait_ended(path: Path) -> None:
    sink = FrameSink()
    with trio.fail_after(PATIENCE):
        while True:
            try:
                if not await path.receive(sink):
                    return
            except trio.BrokenResourceError:
                return


async def test_sender_that_never_says_what_it_wants_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._listen.introductions.INTRODUCTION_TIME", 0.3)
    async with open_peers() as peers:
        path = await open_relayed_path(peers, MALLORY)
        await wait_ended(path)
        path.close()


async def test_live_session_may_have_one_path_in_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._listen.introductions.INTRODUCTION_TIME", 0.3)
    async with open_peers(identity=HONEST) as peers:
        opened, _ = await peers.open_pair("direct")
        reserve = await open_relayed_path(peers, HONEST)
        ends = partial(open_relayed_path, peers)
        for path in [await ends(HONEST), await ends(MALLORY)]:
            await wait_ended(path)
            path.close()
        # The first one is as good as it was when the other two have been left.
        sink, session = FrameSink(), opened.connection.carrier.session
        hello = PathHello(0, session.identifier, 9, MIN_WINDOW, bytes(INSTANCE_BYTES))
        reserve.send_at_once(hello.encode())
        with trio.fail_after(PATIENCE):
            await reserve.receive(sink)
        assert sink.said[0].kind is Kind.HELLO
        reserve.close()


async def test_introduction_with_a_mistake_of_ours_ends_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    has_failed = trio.Event()

    async def fail(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        has_failed.set()
        raise ZeroDivisionError("a mistake")

    async with open_peers() as peers:
        with monkeypatch.context() as broken:
            broken.setattr("trio_p2p._listen.puncher.join_relay", fail)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peers.senders["relay"].open_stream, "receiver")
                await has_failed.wait()
                nursery.cancel_scope.cancel(reason="it cannot be opened")
        async with await peers.senders["relay"].open_stream("receiver"):
            pass
    assert "introduction to 'receiver' failed" in caplog.text


async def test_stream_that_is_moving_when_its_listener_is_closed_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender has left the relay, and the receiver has yet to read that from the new path."""
    may_dial, is_coming, is_closed = trio.Event(), trio.Event(), trio.Event()
    dial, receive_hello = DirectDialer.dial, sessions._receive_hello

    async def dial_later(dialer: DirectDialer, attempts: AttemptLog) -> PeerConnection:
        await may_dial.wait()
        return await dial(dialer, attempts)

    async def receive_hello_later(path: Path) -> PathHello:
        if may_dial.is_set():
            is_coming.set()
            await is_closed.wait()
        return await receive_hello(path)

    monkeypatch.setattr(DirectDialer, "dial", dial_later)
    monkeypatch.setattr(sessions, "_receive_hello", receive_hello_later)
    async with open_peers(grace=1.0) as peers:
        opened, accepted = await peers.open_pair()
        may_dial.set()
        await until(lambda: kind_of(opened) is PathKind.DIRECT)
        await is_coming.wait()
        assert kind_of(accepted) is PathKind.RELAY
        await peers.listener.aclose()
        await until(lambda: not peers.broker.uids)
        is_closed.set()
        for source, sink in [(opened, accepted), (accepted, opened)]:
            await source.send_all(b"still here")
            assert await sink.receive_some() == b"still here"
        assert kind_of(opened) is kind_of(accepted) is PathKind.DIRECT


async def test_sender_that_comes_when_the_listener_is_closed_is_left_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_coming, is_closed = trio.Event(), trio.Event()
    receive_hello = sessions._receive_hello

    async def receive_hello_later(path: Path) -> PathHello:
        is_coming.set()
        await is_closed.wait()
        return await receive_hello(path)

    monkeypatch.setattr(sessions, "_receive_hello", receive_hello_later)
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_peer(broker.address, techniques=["fast"]) as sender,
    ):
        async with receiver.listen("receiver") as closed:
            opened = await sender.open_stream("receiver")
            await is_coming.wait()
        async with receiver.listen("receiver") as listener:
            is_closed.set()
            accepted = await listener.accept()
            await opened.send_all(b"hello")
            assert await accepted.receive_some() == b"hello"
        assert closed.statistics().connected == 0


def kind_of(stream: P2PStream) -> PathKind | None:
    return None if stream.path is None else stream.path.kind
