"""The race for one connection: what is nominated, and what is turned away."""

from functools import partial
from ipaddress import IPv4Address

import attrs
import pytest
import trio

from trio_p2p import Attempt, Outcome, Route, Technique
from trio_p2p._addresses import Endpoint, Vantage, endpoint_of
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._traversal.check import PROOF_BYTES, QUESTION, Role, proofs
from trio_p2p._traversal.introduction import Introduction
from trio_p2p._traversal.nomination import Nomination
from trio_p2p._traversal.race import Race, connect_introduced
from trio_p2p._traversal.strategy import Dial, Side, Strategy
from trio_p2p._wire.messages import NONCE_BYTES, ReceiverEndpoint, SenderEndpoint
from trio_p2p._wire.offer import NO_OFFER

from ..kit.hostile import CERTIFICATE, THERE
from ..kit.loopback import HOST, PATIENCE, received
from ..kit.shared_ports import open_port_somewhere

VANTAGE = Vantage(THERE.address, THERE.address, THERE.address)


def introduction_by(message: SenderEndpoint | ReceiverEndpoint) -> Introduction:
    """What a peer makes of what the broker says."""
    own = Side(THERE, NO_OFFER)
    return Introduction.of(Technique.FAST, message, own, vantage=VANTAGE, broker_round_trip=0.0)


def introduction_to(sender: Endpoint, nonce: bytes) -> Introduction:
    """What a receiver makes of what the broker says."""
    return introduction_by(SenderEndpoint(sender, nonce, CERTIFICATE))


async def test_sender_that_nominates_two_connections_gets_one() -> None:
    nonce = b"n" * NONCE_BYTES
    proof = proofs(nonce, Role.SENDER).own
    async with open_port_somewhere() as shared_port:
        # One from the endpoint that the receiver is told of, one from elsewhere.
        clients = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(2)]
        told = endpoint_of(clients[0].socket.getsockname())
        for client in clients:
            await client.send_all(proof)
        introduction = introduction_to(told, nonce)
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction, guard_hops=5, on_attempt=lambda _: None
            )
            stream = connection.stream
            await stream.send_all(b"!")
        winner = endpoint_of(stream.socket.getpeername())
        for client in clients:
            is_winner = endpoint_of(client.socket.getsockname()) == winner
            assert is_winner == (await received(client) != b"")
        await stream.aclose()
        for client in clients:
            await client.aclose()


async def test_second_connection_nominated_in_the_same_instant_is_not_taken() -> None:
    told = Endpoint(IPv4Address("192.0.2.1"), 1)
    nonce = b"n" * NONCE_BYTES
    introduction = introduction_to(told, nonce)
    race = Race(introduction, lambda _: None, Nomination())
    race.scope = trio.CancelScope()
    first, second = trio.socket.socketpair()
    with first, second:
        assert await race.take_proven(first)
        assert race.scope.cancel_called
        assert not await race.take_proven(second)
        race.close()
        assert first.fileno() == -1
        assert second.fileno() != -1  # left to whoever offered it


async def test_receiver_that_proves_itself_on_two_connections_is_nominated_on_one() -> None:
    nonce = b"n" * NONCE_BYTES
    sender = proofs(nonce, Role.SENDER)
    message = ReceiverEndpoint(0, THERE, nonce, CERTIFICATE)
    introduction = introduction_by(message)
    async with open_port_somewhere(asks=True) as shared_port:
        # Neither from where the broker sees it, so that both are asked who they are.
        clients = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(2)]
        for client in clients:
            await client.send_all(sender.peers)
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction, guard_hops=5, on_attempt=lambda _: None
            )
        winner = endpoint_of(connection.stream.socket.getpeername())
        await connection.stream.aclose()
        for client in clients:
            said = b"".join([piece async for piece in client])
            is_winner = endpoint_of(client.socket.getsockname()) == winner
            assert said == QUESTION + (sender.own if is_winner else b"")
            await client.aclose()


async def test_deadline_that_passes_when_the_peer_has_been_told_of_its_nomination() -> None:
    nonce = b"n" * NONCE_BYTES
    sender = proofs(nonce, Role.SENDER)
    introduction = introduction_by(ReceiverEndpoint(0, THERE, nonce, CERTIFICATE))

    def pass_deadline(attempt: Attempt) -> None:
        if attempt.outcome is Outcome.CONNECTED:
            scope.cancel(reason="the round is over")

    async with (
        open_port_somewhere(asks=True) as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(sender.peers)
        connections: list[PeerConnection] = []
        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            connections.append(
                await connect_introduced(
                    shared_port, introduction, guard_hops=5, on_attempt=pass_deadline
                )
            )
        assert scope.cancel_called
        [connection] = connections
        async with connection.stream:
            assert await received(client) == QUESTION + sender.own
            await client.send_all(b"hello")
            assert await received(connection.stream) == b"hello"


async def test_whoever_answers_for_another_introduction_is_not_taken() -> None:
    nonce, other_nonce = b"n" * NONCE_BYTES, b"o" * NONCE_BYTES
    attempts: list[Attempt] = []
    asked: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        asked.append(await received(stream))
        await stream.send_all(proofs(other_nonce, Role.RECEIVER).own)
        assert await received(stream) == b""  # nothing more, and above all no proof

    async with trio.open_nursery() as nursery, open_port_somewhere(asks=True) as shared_port:
        [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        dialled = endpoint_of(listener.socket.getsockname())
        message = ReceiverEndpoint(0, THERE, nonce, CERTIFICATE)
        introduction = attrs.evolve(
            introduction_by(message),
            strategy=Strategy((Dial(dialled, Route.HOST, is_guarded=False, is_told=False),)),
            forbidden=(),
        )

        def note(attempt: Attempt) -> None:
            attempts.append(attempt)
            scope.cancel(reason="the test has seen enough")

        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            await connect_introduced(shared_port, introduction, guard_hops=5, on_attempt=note)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert asked == [proofs(nonce, Role.SENDER).check]
    [attempt] = attempts
    assert (attempt.outcome, attempt.remote) == (Outcome.WRONG_PEER, dialled)


@pytest.mark.parametrize("answer", [b"", b"W" * PROOF_BYTES], ids=["nothing", "something wrong"])
async def test_whoever_asks_and_does_not_nominate_is_not_taken(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._traversal.race.PROOF_TIME", 0.1)
    nonce = b"n" * NONCE_BYTES
    outcomes: list[Outcome] = []

    def note(attempt: Attempt) -> None:
        outcomes.append(attempt.outcome)
        if attempt.outcome is Outcome.WRONG_PEER:
            scope.cancel(reason="the test has seen enough")

    async with (
        open_port_somewhere() as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(proofs(nonce, Role.SENDER).check)
        introduction = introduction_to(THERE, nonce)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, answer)
            with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
                await connect_introduced(shared_port, introduction, guard_hops=5, on_attempt=note)
        assert await received(client) == proofs(nonce, Role.SENDER).peers
        assert await received(client) == b""  # closed
    assert Outcome.WRONG_PEER in outcomes
    assert Outcome.CONNECTED not in outcomes
