"""The check of who answered, which comes with the first bytes."""

import os
import random
from collections.abc import Callable

import pytest
import trio
import trio.testing

from trio_p2p._traversal.checked_socket import CheckedSocket

PROOF = random.Random("proof").randbytes(32)


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
