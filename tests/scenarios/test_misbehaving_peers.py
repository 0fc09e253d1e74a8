"""Peers that were introduced as they should be, and then misbehave: nobody else is concerned."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_p2p import Identity, P2PListener, P2PStream, RemoteProtocolError, StreamPath
from trio_p2p._errors import PathLostError
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream.credit import FIRST_CREDIT
from trio_p2p._stream.frames import MIN_WINDOW, SESSION_ID_BYTES, Kind, PathHello, header
from trio_p2p._stream.handshake import secure
from trio_p2p._stream.path import Path
from trio_p2p._stream.stream_frames import DEFAULT_NAMES, open_frame, stream_header
from trio_p2p._stream.tls import make_context
from trio_p2p._wire.messages import INSTANCE_BYTES

from ..kit.loopback import held, settled, until
from ..kit.sinks import ByteSink
from ..kit.streams import Peers, dialled, open_path, open_peers, reset

IDENTITY = Identity.generate()
SESSION = bytes(SESSION_ID_BYTES)
OPEN = open_frame(0, DEFAULT_NAMES, FIRST_CREDIT)


def hello(path: int, *, is_new: bool = True) -> bytes:
    """What a path begins with."""
    instance = bytes(INSTANCE_BYTES)
    return PathHello(0, SESSION, path, MIN_WINDOW, instance, is_new=is_new).encode()


def content(offset: int, *frames: bytes) -> bytes:
    """Frames of streams, in one of their session."""
    payload = b"".join(frames)
    return header(Kind.DATA, offset, len(payload)) + payload


GARBAGE = b"this is no record of TLS at all"


def say(path: Path, *frames: bytes) -> None:
    path.start_sending(frames)
    assert not path.is_sending


async def assert_served(peers: Peers) -> None:
    """Others get their streams as if nothing had been."""
    opened, accepted = await peers.open_pair("direct")
    await opened.send_all(b"hello")
    assert await accepted.receive_some() == b"hello"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.aclose)
        nursery.start_soon(accepted.aclose)


async def never_shakes_hands(_: PeerConnection) -> None:
    await trio.lowlevel.checkpoint()


async def shakes_no_hands_but_talks(connection: PeerConnection) -> None:
    await connection.stream.send_all(GARBAGE)


async def shake_hands(connection: PeerConnection) -> tuple[Path, StreamPath]:
    path, described, _ = await secure(connection, make_context(IDENTITY), server_side=False)
    path.send_last_flight()
    return path, described


async def resets_before_it_says_hello(connection: PeerConnection) -> None:
    _, described = await shake_hands(connection)
    reset(described)


async def leaves_before_it_says_hello(connection: PeerConnection) -> None:
    path, _ = await shake_hands(connection)
    await path.wait_receive_might_not_block()
    path.receive_at_once(ByteSink())  # tickets: to close with something unread would be a reset
    path.close()


async def goes_on_in_clear(connection: PeerConnection) -> None:
    await shake_hands(connection)
    await connection.stream.send_all(GARBAGE)


async def says_something_else_first(connection: PeerConnection) -> None:
    path, _ = await shake_hands(connection)
    say(path, header(Kind.ACK, 0))


@pytest.mark.parametrize(
    "behave",
    [
        never_shakes_hands,
        shakes_no_hands_but_talks,
        resets_before_it_says_hello,
        leaves_before_it_says_hello,
        goes_on_in_clear,
        says_something_else_first,
    ],
)
async def test_before_there_is_a_stream(
    behave: Callable[[PeerConnection], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._stream.handshake.HANDSHAKE_TIME", 0.1)
    async with open_peers() as peers:
        before = await settled()
        async with dialled(peers, IDENTITY) as connection:
            await behave(connection)
            await until(lambda: peers.listener.statistics().failed == 1)
        await until(lambda: held() == before)
        await assert_served(peers)


async def broken(listener: P2PListener[P2PStream]) -> trio.BrokenResourceError:
    """How the next stream breaks."""
    accepted = await listener.accept()
    with pytest.raises(trio.BrokenResourceError) as failure:
        await accepted.receive_some()
    return failure.value


@pytest.mark.parametrize(
    "frame",
    [
        header(Kind.DATA, len(OPEN) + 1, 1) + b"x",
        header(Kind.CLOSE, 1),
        header(Kind.ACK, 100_000),
        header(Kind.HELLO, 0),
        bytes(16),
    ],
    ids=["gap", "end that is none", "acknowledgement of nothing", "second hello", "no frame"],
)
async def test_violation_breaks_its_stream_only(
    frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_peers() as peers:
        async with open_path(peers, IDENTITY) as path:
            say(path, hello(1), content(0, OPEN), frame)
            error = await broken(peers.listener)
        assert isinstance(error.__cause__, RemoteProtocolError)
        [line] = [record for record in caplog.records if "connection broken" in record.message]
        assert line.levelname == "WARNING"
        await assert_served(peers)


async def test_older_path_is_not_taken() -> None:
    async with open_peers() as peers, open_path(peers, IDENTITY) as path:
        say(path, hello(5), content(0, OPEN))
        accepted = await peers.listener.accept()
        async with open_path(peers, IDENTITY) as older:
            say(older, hello(3, is_new=False))
            sink = ByteSink()
            while await older.receive(sink):
                pass
        assert not sink.data
        say(path, content(len(OPEN), stream_header(0, 0, 5), b"hello"))
        assert await accepted.receive_some() == b"hello"


async def test_peer_that_never_acknowledges_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in "streams", "giving_up":
        monkeypatch.setattr(f"trio_p2p._stream.{module}.CLOSING_TIME", 0.1)
    monkeypatch.setattr("trio_p2p._stream.open_connections.LOOKING_TIME", 0.1)
    # When the peers are left, what is not acknowledged waits for another path so long.
    async with open_peers(grace=1.0) as peers, open_path(peers, IDENTITY) as path:
        say(path, hello(1), content(0, OPEN))
        accepted = await peers.listener.accept()
        await accepted.send_all(b"hello")
        with pytest.raises(trio.BrokenResourceError, match="got everything") as failure:
            await accepted.aclose()
        assert isinstance(failure.value.__cause__, PathLostError)
