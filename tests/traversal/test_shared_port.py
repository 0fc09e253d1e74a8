"""The port that connections of a peer come to: strangers, proofs, and limits."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._net.nursery import open_background_nursery
from trio_p2p._net.sockets import abort, local_endpoint, open_bound_socket
from trio_p2p._traversal.check import Verdict
from trio_p2p._traversal.proofs import PROOF_BYTES, Role, Word, proofs
from trio_p2p._traversal.shared_port import MAX_DECLINED, MAX_UNPROVEN, Strangers, start_shared_port
from trio_p2p._wire.messages import NONCE_BYTES

from ..kit.hostile import THERE, reset
from ..kit.loopback import HOST, PATIENCE, received
from ..kit.raw_client import RawClient
from ..kit.shared_ports import EXPECTED, NONCE, PROOF, open_port_somewhere

SENDERS = proofs(NONCE, Role.SENDER)  # what a sender waits for
QUESTION = SENDERS.words[Word.QUESTION]
RECEIVERS_PROOF = SENDERS.words[Word.RECEIVERS_PROOF]


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_base_accepts_again_when_there_are_descriptors_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open_bound_socket(socket.AF_INET) as holding, socket.socket() as client:
        client.setblocking(False)
        async with open_background_nursery() as nursery:
            shared_port = start_shared_port(nursery, local_endpoint(holding), Strangers())
            with shared_port.expecting(EXPECTED, THERE) as accepted, trio.fail_after(PATIENCE):
                with no_descriptors_left():
                    client.connect_ex(("127.0.0.1", shared_port.port))
                    while "connection not accepted" not in caplog.text:  # noqa: ASYNC110 - has no event
                        await trio.sleep(0.01)
                client.send(PROOF)
                (await accepted.receive()).close()


async def test_only_the_right_proof_is_accepted() -> None:
    async with open_port_somewhere() as shared_port, trio.open_nursery() as nursery:
        strangers = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(8)]
        silent, wrong, short, web, broken, ended, *others = strangers
        with shared_port.expecting(EXPECTED, THERE) as accepted:
            await wrong.send_all(b"W" * PROOF_BYTES)
            await short.send_all(PROOF[:-1])
            await web.send_all(b"GET / HTTP/1.1\r\n\r\n")
            reset(RawClient(broken))
            await ended.send_all(PROOF[:-1])
            await ended.send_eof()
            for stranger in others:
                await stranger.aclose()
            assert await ended.receive_some() == b""  # closed
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            for byte in PROOF:  # in as many pieces as the network likes
                await honest.send_all(bytes([byte]))
                await trio.lowlevel.checkpoint()
            with trio.fail_after(PATIENCE):
                connection = await accepted.receive()
            assert connection.socket.getpeername() == honest.socket.getsockname()
            with pytest.raises(trio.WouldBlock):
                accepted.receive_nowait()
            connection.close()
        for stream in (*strangers, honest):
            await trio.aclose_forcefully(stream)
        assert silent.socket.fileno() == -1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_one_that_comes_to_a_sender_from_elsewhere_is_asked() -> None:
    async with open_port_somewhere() as shared_port:
        stranger = await trio.open_tcp_stream(HOST, shared_port.port)
        honest = await trio.open_tcp_stream(HOST, shared_port.port)
        with shared_port.expecting(SENDERS, THERE) as accepted:
            for stream, answer in ((stranger, QUESTION), (honest, RECEIVERS_PROOF)):
                assert await received(stream) == QUESTION
                await stream.send_all(answer)
            with trio.fail_after(PATIENCE):
                connection = await accepted.receive()
            assert connection.socket.getpeername() == honest.socket.getsockname()
            assert connection.check.is_nominated
            connection.close()
            with pytest.raises(trio.WouldBlock):
                accepted.receive_nowait()
        await trio.aclose_forcefully(stranger)
        await trio.aclose_forcefully(honest)


async def test_port_asks_only_while_it_is_a_senders() -> None:
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(EXPECTED, THERE) as accepted:
            early = await trio.open_tcp_stream(HOST, shared_port.port)
            await early.send_all(PROOF[:7])
            await is_quiet(early)
            with shared_port.expecting(SENDERS, THERE):
                late = await trio.open_tcp_stream(HOST, shared_port.port)
                for stream in (early, late):  # one that was there before, too
                    assert await received(stream) == QUESTION
                # It is a receiver's, too, whose sender skips the question.
                await early.send_all(PROOF[7:])
                with trio.fail_after(PATIENCE):
                    connection = await accepted.receive()
                assert connection.check.take_outgoing() == RECEIVERS_PROOF
                connection.close()
            after = await trio.open_tcp_stream(HOST, shared_port.port)
            await is_quiet(after)
        for stream in (early, late, after):
            await trio.aclose_forcefully(stream)


async def test_one_that_came_before_its_endpoint_was_told_is_not_asked() -> None:
    async with open_port_somewhere() as shared_port:
        client = await trio.open_tcp_stream(HOST, shared_port.port)
        await is_quiet(client)
        with shared_port.expecting(SENDERS, endpoint_of(client.socket.getsockname())) as accepted:
            with trio.fail_after(PATIENCE):
                connection = await accepted.receive()
            assert connection.check.verdict is Verdict.NOMINATED
            assert connection.check.take_outgoing() == PROOF
            connection.close()
        await client.aclose()


@pytest.mark.parametrize("word", [Word.SENDERS_PROOF, Word.CHECK])
@pytest.mark.parametrize("is_late", [False, True])
async def test_sender_whose_introduction_was_declined_is_told(word: Word, is_late: bool) -> None:
    strangers = Strangers()
    async with open_port_somewhere(strangers) as shared_port:
        if not is_late:
            shared_port.decline(NONCE)
        async with await trio.open_tcp_stream(HOST, shared_port.port) as sender:
            await sender.send_all(EXPECTED.words[word])
            if is_late:
                await is_quiet(sender)
                shared_port.decline(NONCE)
            assert await received(sender) == EXPECTED.words[Word.BUSY]
            assert await received(sender) == b""
    assert not strangers.count


async def test_declined_introductions_are_forgotten() -> None:
    async with open_port_somewhere() as shared_port:
        for number in range(2 * MAX_DECLINED):
            shared_port.decline(number.to_bytes(NONCE_BYTES, "big"))
        first = proofs(bytes(NONCE_BYTES), Role.SENDER).words[Word.CHECK]
        async with await trio.open_tcp_stream(HOST, shared_port.port) as sender:
            await sender.send_all(first)
            await is_quiet(sender)


async def is_quiet(stream: trio.SocketStream) -> None:
    """Check that nothing comes for a moment."""
    with trio.move_on_after(0.05) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught


async def test_proof_may_come_before_it_is_expected() -> None:
    others = proofs(b"o" * NONCE_BYTES, Role.RECEIVER)
    async with open_port_somewhere() as shared_port:
        honest = await trio.open_tcp_stream(HOST, shared_port.port)
        await honest.send_all(PROOF)
        await trio.lowlevel.checkpoint()
        with (
            shared_port.expecting(others, Endpoint(THERE.address, 8)),
            shared_port.expecting(EXPECTED, THERE) as accepted,
        ):
            with trio.fail_after(PATIENCE):
                connection = await accepted.receive()
            connection.close()
        await honest.aclose()


async def test_word_says_more_than_the_endpoint() -> None:
    others = proofs(b"o" * NONCE_BYTES, Role.RECEIVER)
    async with (
        open_port_somewhere() as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(PROOF)
        await is_quiet(client)
        here = endpoint_of(client.socket.getsockname())
        with (
            shared_port.expecting(others, here) as wrong,
            shared_port.expecting(EXPECTED, THERE) as accepted,
        ):
            with trio.fail_after(PATIENCE):
                connection = await accepted.receive()
            connection.close()
            with pytest.raises(trio.WouldBlock):
                wrong.receive_nowait()


async def test_honest_one_gets_through_more_than_may_be_unproven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that it need not wait until the time to prove anything is over.
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 100 * PATIENCE)
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(EXPECTED, THERE) as accepted:
            strangers = []
            for number in range(2 * MAX_UNPROVEN):
                stranger = await trio.open_tcp_stream(HOST, shared_port.port)
                if number % 2:
                    await stranger.send_all(b"W" * PROOF_BYTES)
                strangers.append(stranger)
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            await honest.send_all(PROOF)
            with trio.fail_after(PATIENCE):
                connection = await accepted.receive()
            assert connection.socket.getpeername() == honest.socket.getsockname()
            connection.close()
        for stream in (*strangers, honest):
            await trio.aclose_forcefully(stream)


async def test_unproven_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(EXPECTED, THERE):
            silent = await trio.open_tcp_stream(HOST, shared_port.port)
            wrong = await trio.open_tcp_stream(HOST, shared_port.port)
            await wrong.send_all(b"W" * PROOF_BYTES)
            with trio.fail_after(PATIENCE):
                assert await silent.receive_some() == b""
                assert await wrong.receive_some() == b""
        await silent.aclose()
        await wrong.aclose()


async def test_aborted_connections_at_the_punched_port_do_no_harm() -> None:
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(EXPECTED, THERE) as accepted:
            for _ in range(50):
                sock = socket.create_connection((HOST, shared_port.port))
                sock.send(PROOF[:5])
                abort(sock)
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            await honest.send_all(PROOF)
            with trio.fail_after(PATIENCE):
                (await accepted.receive()).close()
            await honest.aclose()
