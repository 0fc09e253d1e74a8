"""Paths that come when a stream is over, as its peer may have missed the last words."""

from collections.abc import Iterable

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import Identity, P2PStream, PathKind, open_p2p_listener, open_peer
from trio_p2p._stream.frames import MIN_WINDOW, AbortCode, Kind, PathHello
from trio_p2p._wire.messages import (
    INSTANCE_BYTES,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    SenderEndpoint,
)

from ..kit.lying_broker import open_lying_broker
from ..kit.sinks import FrameSink, Said
from ..kit.streams import Peers, open_path, open_peers, reset

INSTANCE = bytes(INSTANCE_BYTES)
TIMES = 2  # that a later path is refused
OVER = b"this connection is not known here any more: the program was started again, or ended it"


async def answer_to(peers: Peers, identity: Identity, hello: PathHello) -> list[Said]:
    """What the receiver says on a new path that begins with a hello."""
    sink = FrameSink()
    async with open_path(peers, identity) as path:
        path.send_at_once(hello.encode())
        while await path.receive(sink):
            pass
    return sink.said


async def say_all(opened: P2PStream, accepted: P2PStream) -> None:
    """Exchange something, and close a stream at both ends."""
    await opened.send_all(b"hello")
    assert await accepted.receive_some() == b"hello"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.aclose)
        nursery.start_soon(accepted.aclose)


@pytest.mark.parametrize("end", ["closed", "aborted", "given up"])
async def test_peer_is_told_the_last_words_again(end: str) -> None:
    identity = Identity.generate()
    async with open_peers(identity=identity, grace=60.0 if end == "closed" else 0.0) as peers:
        opened, accepted = await peers.open_pair("direct")
        match end:
            case "closed":
                await say_all(opened, accepted)
                await opened.connection.aclose()
                await accepted.connection.wait_over()
            case "aborted":
                accepted.connection.carrier.abort("enough")
                await trio.testing.wait_all_tasks_blocked()
            case _:
                assert opened.path is not None
                reset(opened.path)
                with pytest.raises(trio.BrokenResourceError):
                    await accepted.receive_some()
        session = opened.connection.carrier.session
        hello = PathHello(0, session.identifier, 9, MIN_WINDOW, INSTANCE)
        said = await answer_to(peers, identity, hello)
    if end == "closed":
        greeting, farewell = said
        assert (greeting.kind, greeting.number) == (Kind.HELLO, session.outgoing.acked)
        assert farewell.kind in (Kind.ACK, Kind.CLOSE)
    else:
        [abort] = said
        assert (abort.kind, abort.number) == (Kind.ABORT, AbortCode.GIVEN_UP)
        assert (b"enough" if end == "aborted" else b"no path for 0 seconds") in abort.payload


@pytest.mark.parametrize("is_known", [False, True])
async def test_others_are_not(is_known: bool) -> None:
    async with open_peers() as peers:
        opened, accepted = await peers.open_pair("direct")
        await say_all(opened, accepted)
        await opened.connection.aclose()
        session = opened.connection.carrier.session.identifier if is_known else bytes(16)
        hello = PathHello(0, session, 9, MIN_WINDOW, INSTANCE)
        said = await answer_to(peers, Identity.generate(), hello)
    assert said == [Said(Kind.ABORT, AbortCode.UNKNOWN_SESSION, OVER)]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("told", [SenderEndpoint, ReceiverEndpoint])
async def test_wrong_certificate_for_a_later_path_costs_that_path_only(
    told: type[SenderEndpoint | ReceiverEndpoint],
) -> None:
    """One bit of a certificate is wrong when one of the peers is told of the other one again."""
    is_late = False
    told_wrong = 0

    def lie(message: Message) -> Iterable[Message]:
        nonlocal told_wrong
        match message:
            case SenderEndpoint() | ReceiverEndpoint() if (
                isinstance(message, told) and is_late and told_wrong < TIMES
            ):
                told_wrong += 1
                return [attrs.evolve(message, certificate=with_wrong_bit(message.certificate))]
            case SenderEndpoint() if not is_late:
                return []
            case ReceiverEndpoint(number=number) if not is_late:
                return [Refused(RefusalCode.RECEIVER_SILENT, "not yet", number)]
            case _:
                return [message]

    async with (
        open_lying_broker(lie) as broker,
        open_p2p_listener("receiver", broker) as listener,
        open_peer(broker) as sender,
    ):
        opened = await sender.open_stream("receiver")
        accepted = await listener.accept()
        assert not is_direct(opened)
        is_late = True
        while not is_direct(opened) or told_wrong < TIMES:
            await opened.send_all(b"?")
            assert await accepted.receive_some() == b"?"
            await accepted.send_all(b"!")
            assert await opened.receive_some() == b"!"


def with_wrong_bit(certificate: bytes) -> bytes:
    """A certificate with another signature, which is of the right form even so."""
    return certificate[:-1] + bytes([certificate[-1] ^ 1])


def is_direct(stream: P2PStream) -> bool:
    return stream.path is not None and stream.path.kind is PathKind.DIRECT
