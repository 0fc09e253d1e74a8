"""Hostile peers at a receiver's port, or in its place: the honest ones never notice."""

import random
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from trio_p2p import Outcome, WrongPeerError, open_peer
from trio_p2p._addresses import Endpoint
from trio_p2p._net.sockets import listen_on, open_bound_socket
from trio_p2p._traversal.proofs import PROOF_BYTES
from trio_p2p._traversal.shared_port import MAX_UNPROVEN
from trio_p2p._wire.messages import ReceiverEndpoint, StreamKind

from ..kit.hostile import connect_raw
from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    HOST,
    PATIENCE,
    AttemptTracer,
    LoopbackBroker,
    attempts_of,
    open_broker,
    open_raw_listener,
    open_raw_stream,
    received,
    until,
)
from ..kit.raw_client import RawClient, request

RANDOM = random.Random(20240501)  # the same bytes in every run


async def test_strangers_at_the_port_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    async with (
        open_broker() as broker,
        await connect_raw(broker.port) as sender,
        open_peer(broker.address) as peer,
        peer.listen("alice") as listener,
    ):
        await sender.greet()
        await sender.ask("alice", "fast")
        port = (await sender.receive(ReceiverEndpoint)).endpoint.port
        before = peer.statistics().strangers
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"W" * PROOF_BYTES):
            async with await trio.open_tcp_stream(HOST, port) as stranger:
                await stranger.send_all(said)
                assert await received(stranger) == b""
        await until(lambda: peer.statistics().strangers == before + 3)
        statistics = listener.statistics()
        assert (statistics.connected, statistics.forbidden) == (0, 0)


async def receiver_endpoint(broker: LoopbackBroker, uid: str) -> Endpoint:
    """Where a receiver punches from, which whoever knows its UID may ask."""
    async with await connect_raw(broker.port) as spy:
        await spy.greet()
        await spy.send(request(0, uid, "fast", StreamKind.RAW))
        return (await spy.receive(ReceiverEndpoint)).endpoint


async def test_flooded_receiver_accepts_the_honest_ones_only() -> None:
    async with (
        open_broker() as broker,
        open_raw_listener("alice", broker.address) as listener,
        trio.open_nursery() as nursery,
    ):
        port = (await receiver_endpoint(broker, "alice")).port
        flood: list[trio.SocketStream] = []

        async def flood_on() -> None:
            while True:
                stranger = await trio.open_tcp_stream(HOST, port)
                flood.append(stranger)
                with suppress(trio.BrokenResourceError):
                    if len(flood) % 2:
                        await stranger.send_all(RANDOM.randbytes(PROOF_BYTES))
                if len(flood) > 3 * MAX_UNPROVEN:
                    await trio.aclose_forcefully(flood.pop(0))

        nursery.start_soon(flood_on)
        await until(lambda: len(flood) > 2 * MAX_UNPROVEN)
        for number in range(10):
            with trio.fail_after(PATIENCE):
                opened = await open_raw_stream("alice", broker.address)
                accepted = await listener.accept()
            await opened.send_all(bytes([number]))
            assert await accepted.receive_some() == bytes([number])
            await accepted.send_all(bytes([number]))
            assert await opened.receive_some() == bytes([number])
            await opened.aclose()
            await accepted.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")
    for stranger in flood:
        await trio.aclose_forcefully(stranger)


@asynccontextmanager
async def open_impostor(
    broker: LoopbackBroker, kind: StreamKind = StreamKind.SESSION
) -> AsyncGenerator[None]:
    """Somebody who took over alice's endpoint: he answers there, but without her proof."""
    async with trio.open_nursery() as nursery:
        sock = open_bound_socket(socket.AF_INET)
        port = sock.getsockname()[1]
        registering = trio.socket.from_stdlib_socket(sock)
        await registering.connect(broker.address)
        with listen_on(socket.AF_INET, port) as listening:

            async def answer() -> None:
                while True:
                    accepted, _ = await listening.accept()
                    nursery.start_soon(answer_one, accepted)

            async def answer_one(accepted: trio.socket.SocketType) -> None:
                with accepted, suppress(OSError):
                    await accepted.send(b"W" * PROOF_BYTES + b"do this")
                    await accepted.recv(4096)

            async with RawClient(trio.SocketStream(registering)) as receiver:
                await receiver.register("alice", stream=kind)
                nursery.start_soon(answer)
                yield
            nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("kind", StreamKind)
async def test_sender_is_told_that_another_peer_has_answered(kind: StreamKind) -> None:
    tracer = AttemptTracer()
    async with (
        open_broker() as broker,
        open_impostor(broker, kind),
        open_peer(broker.address, techniques=DIRECT_TECHNIQUES, tracer=tracer) as peer,
    ):
        open_it = peer.open_raw_stream if kind is StreamKind.RAW else peer.open_stream
        with trio.fail_after(PATIENCE), pytest.raises(WrongPeerError) as caught:
            await open_it("alice")
    assert "could not prove to be the introduced one" in str(caught.value)
    wrong = tracer.attempts[-1]
    assert wrong.outcome is Outcome.WRONG_PEER
    assert wrong.local is not None
    assert wrong.remote is not None
    assert Outcome.CONNECTED not in {each.outcome for each in tracer.attempts}
    assert attempts_of(caught.value) == tracer.attempts
