"""Brokers that lie, and peers that pretend: each ends in a named error, and never in a stream."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

import attrs
import pytest
import trio

from trio_p2p import (
    Endpoint,
    IdentityError,
    IntroductionError,
    NotAdmittedError,
    Outcome,
    P2PError,
    P2PListener,
    P2PStream,
    PathLostError,
    PeerId,
    RemoteProtocolError,
    Technique,
    UIDTakenError,
    WrongPeerError,
    open_p2p_listener,
    open_p2p_stream,
    serve_p2p,
)
from trio_p2p._addresses import endpoint_of
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    ConnectionRequest,
    Hello,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Register,
    Registered,
    Relayed,
    RelayRequest,
    SenderEndpoint,
)
from trio_p2p._wire.offer import Opening

from ..kit.loopback import (
    ANY_WAY,
    HOST,
    PATIENCE,
    SESSION_WAYS,
    AttemptTracer,
    LoopbackBroker,
    Way,
    attempts_of,
    exchange,
    open_broker,
    open_listener,
    open_stream,
    until,
)
from ..kit.lying_broker import Address, Lie, open_lying_broker
from ..kit.raw_client import RawClient, identity_of, registration

ALICE, MALLORY, SENDER = map(identity_of, ("alice", "mallory", "sender"))

EVERY_WAY = pytest.mark.parametrize("way", SESSION_WAYS, ids=str)


def open_alice(way: Way, broker: Address) -> AbstractAsyncContextManager[P2PListener[P2PStream]]:
    return open_listener("alice", broker, identity=ALICE, techniques=way.techniques)


async def open_in_vain(broker: Address, way: Way, expect: PeerId | None = None) -> None:
    with trio.fail_after(PATIENCE):
        async with open_stream(
            "alice", broker, identity=SENDER, expect=expect, techniques=way.techniques
        ):
            pytest.fail("there is a stream")


async def use_in_vain(broker: Address, way: Way) -> BaseException | None:
    """Open a stream that must be of no use; why it is not."""
    expected = trio.BrokenResourceError, NotAdmittedError  # the refusal may come before the stream
    with trio.fail_after(PATIENCE), pytest.raises(expected) as caught:  # noqa: PT012
        async with open_stream(
            "alice", broker, identity=SENDER, techniques=way.techniques
        ) as stream:
            await stream.send_all(b"do this")
            await stream.receive_some()
    error = caught.value
    return error if isinstance(error, NotAdmittedError) else error.__cause__


def failures(caplog: pytest.LogCaptureFixture) -> list[P2PError]:
    """Why introductions failed, as receivers told their log."""
    return [
        error
        for record in caplog.records
        if record.name == "trio_p2p.receiver" and isinstance(record.args, tuple)
        for error in record.args
        if isinstance(error, P2PError)
    ]


def assert_nobody_came(*listeners: P2PListener[P2PStream]) -> None:
    for listener in listeners:
        statistics = listener.statistics()
        assert (statistics.connected, statistics.waiting) == (0, 0)


# Swapped certificates


def says_receivers_have(certificate: bytes) -> Lie:
    def lie(message: Message) -> Iterable[Message]:
        match message:
            case ReceiverEndpoint() | Relayed(certificate=bytes()):
                yield attrs.evolve(message, certificate=certificate)
            case _:
                yield message

    return lie


def says_senders_have(certificate: bytes) -> Lie:
    def lie(message: Message) -> Iterable[Message]:
        match message:
            case SenderEndpoint() | RelayRequest():
                yield attrs.evolve(message, certificate=certificate)
            case _:
                yield message

    return lie


@EVERY_WAY
@pytest.mark.parametrize("expect", [None, ALICE.peer_id], ids=["anybody", "alice"])
async def test_swapped_certificate_of_the_receiver(way: Way, expect: PeerId | None) -> None:
    async with (
        open_lying_broker(says_receivers_have(MALLORY.certificate)) as broker,
        open_alice(way, broker) as alice,
    ):
        with pytest.raises(WrongPeerError):
            await open_in_vain(broker, way, expect)
        assert_nobody_came(alice)


@EVERY_WAY
@pytest.mark.parametrize("expect", [None, ALICE.peer_id], ids=["anybody", "alice"])
async def test_attempts_and_error_tell_of_a_wrong_certificate(
    way: Way, expect: PeerId | None
) -> None:
    tracer = AttemptTracer()
    async with (
        open_lying_broker(says_receivers_have(MALLORY.certificate)) as broker,
        open_alice(way, broker),
    ):
        with trio.fail_after(PATIENCE), pytest.raises(WrongPeerError) as caught:
            async with open_stream(
                "alice", broker, expect=expect, techniques=way.techniques, tracer=tracer
            ):
                pytest.fail("there is a stream")
    *others, wrong = tracer.attempts
    assert (wrong.technique, wrong.outcome) == (way.technique, Outcome.WRONG_PEER)
    assert wrong.local is not None
    assert wrong.remote is not None
    assert Outcome.CONNECTED not in {each.outcome for each in others}
    assert attempts_of(caught.value) == tracer.attempts


@EVERY_WAY
async def test_swapped_certificate_of_the_sender(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "trio_p2p.receiver")
    async with (
        open_lying_broker(says_senders_have(MALLORY.certificate)) as broker,
        open_alice(way, broker) as alice,
    ):
        cause = await use_in_vain(broker, way)
        assert isinstance(cause, NotAdmittedError)
        await until(lambda: any(isinstance(error, WrongPeerError) for error in failures(caplog)))
        assert_nobody_came(alice)
        assert alice.statistics().wrong_peers


@EVERY_WAY
async def test_certificate_that_is_none(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "trio_p2p.receiver")
    async with (
        open_lying_broker(says_receivers_have(b"certificate")) as broker,
        open_alice(way, broker) as alice,
    ):
        with pytest.raises(RemoteProtocolError):
            await open_in_vain(broker, way)
        assert_nobody_came(alice)
    async with (
        open_lying_broker(says_senders_have(b"certificate")) as broker,
        open_alice(way, broker) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(suppressing_errors, open_in_vain), broker, way)
        await until(lambda: any(type(e) is RemoteProtocolError for e in failures(caplog)))
        assert_nobody_came(alice)
        nursery.cancel_scope.cancel(reason="the test is over")


async def suppressing_errors(function: Callable[..., object], *args: object) -> None:
    with suppress(P2PError):
        await function(*args)  # type: ignore[misc]


async def test_relay_that_gives_no_certificate() -> None:
    def lie(message: Message) -> Iterable[Message]:
        yield attrs.evolve(message, certificate=None) if isinstance(message, Relayed) else message

    relay = SESSION_WAYS[-1]
    async with open_lying_broker(lie) as broker, open_alice(relay, broker) as alice:
        with pytest.raises(RemoteProtocolError, match="relayed"):
            await open_in_vain(broker, relay)
        assert_nobody_came(alice)


# Swapped endpoints


@pytest.mark.parametrize("technique", [Technique.FAST, Technique.CLASSIC])
async def test_swapped_endpoint_of_the_receiver(
    technique: Technique, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    rounds = ((Opening.RECEIVER_HOLDS, 0.3),)
    monkeypatch.setattr("trio_p2p._connect.rounds.ROUNDS", {technique: rounds})
    way = Way(technique)
    registered: list[Endpoint] = []

    def lie(message: Message) -> Iterable[Message]:
        if isinstance(message, Registered):
            registered.append(message.endpoint)
        # Of both: on this host a punch goes all the way, and alice would find the sender herself.
        if isinstance(message, (ReceiverEndpoint, SenderEndpoint)):
            message = attrs.evolve(message, endpoint=registered[-1])
        yield message

    async with (
        open_lying_broker(lie) as broker,
        open_alice(way, broker) as alice,
        open_p2p_listener("bob", broker) as bob,
    ):
        with pytest.raises((PathLostError, IntroductionError)):
            await open_in_vain(broker, way)
        assert_nobody_came(alice, bob)


@pytest.mark.parametrize("technique", [Technique.FAST, Technique.CLASSIC])
async def test_swapped_endpoint_of_the_sender(
    technique: Technique, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    way = Way(technique)

    async def answer(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(bytes(1000))
            async for _ in stream:
                pass

    async with trio.open_nursery() as nursery:
        [stranger] = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        somewhere_else = endpoint_of(stranger.socket.getsockname())

        def lie(message: Message) -> Iterable[Message]:
            if isinstance(message, SenderEndpoint):
                message = attrs.evolve(message, endpoint=somewhere_else)
            yield message

        async with open_lying_broker(lie) as broker, open_alice(way, broker) as alice:
            # The sender knows where the receiver is, and can prove itself there all the same.
            async with (
                open_stream("alice", broker, techniques=[technique]) as opened,
                await alice.accept() as accepted,
            ):
                assert opened.path is not None
                assert accepted.path is not None
                assert accepted.path.remote == opened.path.local != somewhere_else
                assert opened.peer_id == ALICE.peer_id
            assert alice.statistics().connected == 1
        nursery.cancel_scope.cancel(reason="the test is over")


# What comes a second time


@EVERY_WAY
async def test_replayed_introduction(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "trio_p2p.receiver")

    def lie(message: Message) -> Iterable[Message]:
        yield message
        if isinstance(message, SenderEndpoint | ConnectionRequest | RelayRequest):
            yield message

    async with (
        open_lying_broker(lie) as broker,
        open_alice(way, broker) as alice,
        open_stream("alice", broker, techniques=way.techniques) as opened,
        await alice.accept() as accepted,
    ):
        await until(lambda: len(failures(caplog)) == 1)
        await opened.send_all(b"data")
        assert await accepted.receive_some() == b"data"
        statistics = alice.statistics()
        assert (statistics.introductions, statistics.connected, statistics.waiting) == (2, 1, 0)


async def test_replayed_registration() -> None:
    async with open_broker() as broker:
        async with await connect(broker) as alice:
            recorded = registration("alice", await alice.greet(), ALICE)
            await alice.send(recorded)
            await alice.receive(Registered)
            await assert_not_proven(broker, recorded)
            assert broker.uids == {"alice"}
        await until(lambda: not broker.uids)
        await assert_not_proven(broker, recorded)
        assert not broker.uids


async def assert_not_proven(broker: LoopbackBroker, register: Register) -> None:
    async with await connect(broker) as mallory:
        await mallory.greet()
        await mallory.send(register)
        assert (await mallory.wait_refused()).code is RefusalCode.IDENTITY_NOT_PROVEN


async def connect(broker: LoopbackBroker) -> RawClient:
    return RawClient(await trio.open_tcp_stream(*broker.address))


# Stolen names


async def test_name_that_is_in_use_cannot_be_stolen() -> None:
    async with open_broker() as broker, open_alice(ANY_WAY, broker.address):
        with pytest.raises(UIDTakenError):
            async with open_p2p_listener("alice", broker.address, identity=MALLORY):
                pytest.fail("stolen")


@pytest.mark.parametrize("way", [*SESSION_WAYS, ANY_WAY], ids=str)
async def test_name_that_was_stolen_meanwhile_deceives_nobody_who_knows_whom_to_expect(
    way: Way,
) -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("alice", broker.address, identity=MALLORY) as mallory,
    ):
        with pytest.raises(WrongPeerError) as caught:
            await open_in_vain(broker.address, way, ALICE.peer_id)
        assert str(MALLORY.peer_id) in str(caught.value)
        assert_nobody_came(mallory)


async def test_peer_id_cannot_be_stolen() -> None:
    async with open_broker() as broker, await connect(broker) as mallory:
        await mallory.send(registration(str(ALICE.peer_id), await mallory.greet(), MALLORY))
        assert (await mallory.wait_refused()).code is RefusalCode.IDENTITY_NOT_PROVEN
        assert not broker.uids


@EVERY_WAY
async def test_peer_id_deceives_nobody_even_if_the_broker_lets_it_be_stolen(way: Way) -> None:
    # As if Mallory were registered under it.
    async with (
        open_lying_broker(says_receivers_have(MALLORY.certificate)) as broker,
        open_p2p_listener(ALICE.peer_id, broker, identity=ALICE) as alice,
    ):
        with pytest.raises(WrongPeerError):
            async with open_stream(ALICE.peer_id, broker, techniques=way.techniques):
                pytest.fail("there is a stream")
        assert_nobody_came(alice)


async def test_receiver_whom_the_broker_does_not_believe() -> None:
    # It gives another challenge than the one it checks.
    def lie(message: Message) -> Iterable[Message]:
        if isinstance(message, Hello):
            message = attrs.evolve(message, challenge=bytes(CHALLENGE_BYTES))
        yield message

    async with open_lying_broker(lie) as broker:
        with pytest.raises(IdentityError):
            async with open_alice(ANY_WAY, broker):
                pytest.fail("registered")


# Whom a receiver does not admit


@pytest.mark.parametrize("way", [*SESSION_WAYS, ANY_WAY], ids=str)
async def test_sender_that_is_not_admitted_reaches_neither_handler_nor_accept(way: Way) -> None:
    handled: list[PeerId] = []

    async def handle(stream: P2PStream) -> None:
        handled.append(stream.peer_id)

    async with open_broker() as broker, trio.open_nursery() as nursery:
        serve = partial(serve_p2p, identity=ALICE, admit={MALLORY.peer_id}.__contains__)
        listener = await nursery.start(serve, handle, "alice", broker.address)
        cause = await use_in_vain(broker.address, way)
        assert isinstance(cause, NotAdmittedError)
        assert str(SENDER.peer_id) in str(cause)
        assert_nobody_came(listener)
        async with open_p2p_stream("alice", broker.address, identity=MALLORY) as stream:
            assert await stream.receive_some() == b""
        assert handled == [MALLORY.peer_id]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_session_cannot_be_taken_over_by_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_broker() as broker, open_alice(ANY_WAY, broker.address) as alice:
        # Whoever knows it, from now on; the broker has its own source already.
        monkeypatch.setattr("secrets.token_bytes", lambda count: b"s" * count)
        async with (
            open_p2p_stream("alice", broker.address) as opened,
            await alice.accept() as accepted,
        ):
            cause = await use_in_vain(broker.address, ANY_WAY)
            assert isinstance(cause, NotAdmittedError)
            await opened.send_all(b"still mine")
            assert await accepted.receive_some() == b"still mine"


# Relays that change what they carry


async def test_relay_that_changes_a_byte_does_not_change_a_stream() -> None:
    changed: list[int] = []

    async def pass_on(source: trio.SocketStream, target: trio.SocketStream, *, lies: bool) -> None:
        total = 0
        with suppress(trio.BrokenResourceError):
            async for data in source:
                total += len(data)
                said = bytearray(data)
                if lies and total > 5000 and not changed:
                    said[-1] ^= 1
                    changed.append(total)
                await target.send_all(said)
            await target.send_eof()

    async def serve(near: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(*broker.address) as far, trio.open_nursery() as both:
            both.start_soon(partial(pass_on, near, far, lies=False))
            both.start_soon(partial(pass_on, far, near, lies=True))

    relay = SESSION_WAYS[-1]
    data = bytes(range(256)) * 400
    async with open_broker() as broker, trio.open_nursery() as nursery:
        [proxy] = await nursery.start(partial(trio.serve_tcp, serve, 0, host=HOST))
        async with (
            open_alice(relay, broker.address) as alice,
            relay.open_stream("alice", proxy.socket.getsockname()) as opened,
            await alice.accept() as accepted,
            trio.open_nursery() as exchanging,
        ):
            exchanging.start_soon(exchange, accepted, data)
            assert await exchange(opened, data) == data
        assert changed
        nursery.cancel_scope.cancel(reason="the test is over")
