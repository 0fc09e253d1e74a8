"""The port that connections of a peer come to: strangers, proofs, and limits."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from trio_p2p._net.nursery import open_background_nursery
from trio_p2p._net.sockets import abort, local_endpoint, open_bound_socket
from trio_p2p._traversal.check import PROOF_BYTES, QUESTION
from trio_p2p._traversal.shared_port import MAX_UNPROVEN, start_shared_port

from ..kit.hostile import THERE, reset
from ..kit.loopback import HOST, PATIENCE
from ..kit.raw_client import RawClient
from ..kit.shared_ports import PROOF, open_port_somewhere


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
            shared_port = start_shared_port(nursery, local_endpoint(holding), asks=False)
            with shared_port.expecting(PROOF) as accepted, trio.fail_after(PATIENCE):
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
        with shared_port.expecting(PROOF) as accepted:
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
                sock = await accepted.receive()
            assert sock.getpeername() == honest.socket.getsockname()
            with pytest.raises(trio.WouldBlock):
                accepted.receive_nowait()
            sock.close()
        for stream in (*strangers, honest):
            await trio.aclose_forcefully(stream)
        assert silent.socket.fileno() == -1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_whoever_comes_to_a_sender_from_elsewhere_is_asked() -> None:
    async with open_port_somewhere(asks=True) as shared_port:
        stranger = await trio.open_tcp_stream(HOST, shared_port.port)
        honest = await trio.open_tcp_stream(HOST, shared_port.port)
        with shared_port.expecting(THERE) as from_there, shared_port.expecting(PROOF) as accepted:
            for stream, answer in ((stranger, QUESTION), (honest, PROOF)):
                assert await stream.receive_some() == QUESTION
                await stream.send_all(answer)
            with trio.fail_after(PATIENCE):
                sock = await accepted.receive()
            assert sock.getpeername() == honest.socket.getsockname()
            sock.close()
            for channel in (accepted, from_there):
                with pytest.raises(trio.WouldBlock):
                    channel.receive_nowait()
        await trio.aclose_forcefully(stranger)
        await trio.aclose_forcefully(honest)


async def test_proof_may_come_before_it_is_expected() -> None:
    async with open_port_somewhere() as shared_port:
        honest = await trio.open_tcp_stream(HOST, shared_port.port)
        await honest.send_all(PROOF)
        await trio.lowlevel.checkpoint()
        with shared_port.expecting(b"other" * 8), shared_port.expecting(PROOF) as accepted:
            with trio.fail_after(PATIENCE):
                sock = await accepted.receive()
            sock.close()
        await honest.aclose()


async def test_honest_one_gets_through_more_than_may_be_unproven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that it need not wait until the time to prove anything is over.
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 100 * PATIENCE)
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(PROOF) as accepted:
            strangers = []
            for number in range(2 * MAX_UNPROVEN):
                stranger = await trio.open_tcp_stream(HOST, shared_port.port)
                if number % 2:
                    await stranger.send_all(b"W" * PROOF_BYTES)
                strangers.append(stranger)
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            await honest.send_all(PROOF)
            with trio.fail_after(PATIENCE):
                sock = await accepted.receive()
            assert sock.getpeername() == honest.socket.getsockname()
            sock.close()
        for stream in (*strangers, honest):
            await trio.aclose_forcefully(stream)


async def test_unproven_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(PROOF):
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
        with shared_port.expecting(PROOF) as accepted:
            for _ in range(50):
                sock = socket.create_connection((HOST, shared_port.port))
                sock.send(PROOF[:5])
                abort(sock)
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            await honest.send_all(PROOF)
            with trio.fail_after(PATIENCE):
                (await accepted.receive()).close()
            await honest.aclose()
