"""What is done with a connection before any byte of a stream travels over it."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from trio_p2p import BusyError, Identity, P2PError, PathLostError, Technique, WrongPeerError
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._stream.handshake import confirm, secure
from trio_p2p._stream.tls import make_context

from ..kit.loopback import open_streams, received

OURS, THEIRS = Identity.generate(), Identity.generate()

Check = Callable[[], Awaitable[None]]
Make = Callable[[PeerConnection], Awaitable[object]]


def connection_over(stream: trio.SocketStream, check: Check) -> PeerConnection:
    return PeerConnection(stream, Technique.FAST, THEIRS.certificate, confirm=check)


async def make_secure(connection: PeerConnection) -> None:
    expected = THEIRS.peer_id
    await secure(connection, make_context(OURS), server_side=False, expected=expected)


both = pytest.mark.parametrize("make", [confirm, make_secure])


@both
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (WrongPeerError("not the one"), WrongPeerError),
        (BusyError("no room", retry_after=2.5), BusyError),
        (PathLostError("ended"), PathLostError),
        (OSError("reset"), PathLostError),
    ],
)
async def test_connection_that_is_not_confirmed_is_closed(
    make: Make, failure: Exception, error: type[P2PError]
) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise failure

    async with open_streams() as (one, _):
        with pytest.raises(error) as caught:
            await make(connection_over(one, fail))
        assert one.socket.fileno() == -1
    if isinstance(caught.value, WrongPeerError) and make is make_secure:
        assert caught.value.expected == THEIRS.peer_id
    if isinstance(caught.value, BusyError):
        assert caught.value.retry_after == 2.5


@both
async def test_connection_that_is_not_confirmed_in_time_is_closed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._stream.handshake.HANDSHAKE_TIME", 0.01)
    async with open_streams() as (one, _):
        with pytest.raises(PathLostError, match="in time"):
            await make(connection_over(one, trio.sleep_forever))
        assert one.socket.fileno() == -1


@both
async def test_cancelled_confirmation_closes_the_connection(make: Make) -> None:
    async with open_streams() as (one, _):
        with trio.move_on_after(0.01) as scope:
            await make(connection_over(one, trio.sleep_forever))
        assert scope.cancelled_caught
        assert one.socket.fileno() == -1


async def test_confirmed_connection_is_left_as_it_is() -> None:
    async with open_streams() as (one, other):
        await other.send_all(b"hello")
        assert await confirm(connection_over(one, trio.lowlevel.checkpoint)) is one
        assert await received(one) == b"hello"


async def test_tls_begins_before_the_peer_has_proven_itself_and_goes_on_behind_that() -> None:
    events: list[str] = []

    async with open_streams() as (one, other), trio.open_nursery() as nursery:

        async def hear_proof() -> None:
            assert await one.socket.recv(5) == b"proof"
            events.append("proof")

        async def be_the_peer() -> None:
            first_flight = await received(other)
            events.append("first flight")
            await other.send_all(b"proof")
            theirs = PeerConnection(other, Technique.FAST, OURS.certificate, b"", first_flight)
            await secure(theirs, make_context(THEIRS), server_side=True)

        async def connect() -> None:
            path, _, _ = await secure(
                connection_over(one, hear_proof), make_context(OURS), server_side=False
            )
            path.start_sending([b"hello"])  # with our last flight

        nursery.start_soon(be_the_peer)
        await connect()
    assert events == ["first flight", "proof"]
