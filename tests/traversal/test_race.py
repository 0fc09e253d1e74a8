"""The race for one connection: what is nominated, and what is turned away."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from ipaddress import IPv4Address

import attrs
import pytest
import trio

from trio_p2p import (
    Attempt,
    BusyError,
    Outcome,
    P2PError,
    PathLostError,
    Route,
    Technique,
    WrongPeerError,
)
from trio_p2p._addresses import Endpoint, Vantage, endpoint_of
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._traversal.check import Check
from trio_p2p._traversal.checked_connection import CheckedConnection
from trio_p2p._traversal.introduction import Introduction
from trio_p2p._traversal.nomination import Nomination
from trio_p2p._traversal.proofs import PROOF_BYTES, Role, Word, proofs
from trio_p2p._traversal.race import Race, connect_introduced
from trio_p2p._traversal.strategy import Dial, Side, Strategy
from trio_p2p._wire.messages import NONCE_BYTES, ReceiverEndpoint, SenderEndpoint
from trio_p2p._wire.offer import NO_OFFER

from ..kit.attempts import NotedAttempts
from ..kit.hostile import CERTIFICATE, THERE
from ..kit.loopback import HOST, PATIENCE, received
from ..kit.shared_ports import NONCE, open_port_somewhere

WORDS = proofs(NONCE, Role.SENDER).words
QUESTION = WORDS[Word.QUESTION]
VANTAGE = Vantage(THERE.address, THERE.address, THERE.address)
BY_BROKER = ReceiverEndpoint(0, THERE, NONCE, CERTIFICATE)


def introduction_by(message: SenderEndpoint | ReceiverEndpoint) -> Introduction:
    """What a peer makes of what the broker says."""
    own = Side(THERE, NO_OFFER)
    return Introduction.of(Technique.FAST, message, own, vantage=VANTAGE, broker_round_trip=0.0)


def introduction_to(sender: Endpoint) -> Introduction:
    """What a receiver makes of what the broker says."""
    return introduction_by(SenderEndpoint(sender, NONCE, CERTIFICATE))


async def test_sender_that_nominates_two_connections_gets_one() -> None:
    proof = WORDS[Word.SENDERS_PROOF]
    async with open_port_somewhere() as shared_port:
        # One from the endpoint that the receiver is told of, one from elsewhere.
        clients = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(2)]
        told = endpoint_of(clients[0].socket.getsockname())
        for client in clients:
            await client.send_all(proof)
        introduction = introduction_to(told)
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction, guard_hops=5, attempts=NotedAttempts()
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
    introduction = introduction_to(told)
    race = Race(introduction, NotedAttempts(), Nomination())
    race.scope = trio.CancelScope()
    pairs = [trio.socket.socketpair() for _ in range(2)]
    with race.winner:
        for sock, peer in pairs:
            with peer:
                await peer.send(WORDS[Word.SENDERS_PROOF])
                connection = CheckedConnection(sock, Check.dialled(race.proofs, is_told=True))
                is_first = sock is pairs[0][0]
                assert await race.take(connection) is is_first
                assert race.scope.cancel_called
                if not is_first:
                    connection.close()  # left to the task that offered it
                answer = WORDS[Word.RECEIVERS_PROOF] if is_first else b""
                assert await peer.recv(100) == answer
    assert race.connection().stream.socket is pairs[0][0]
    pairs[0][0].close()


async def test_race_that_fails_closes_its_winner_and_withdraws_the_nomination() -> None:
    nomination = Nomination()
    search = nomination.search
    race = Race(introduction_by(BY_BROKER), NotedAttempts(), nomination)
    race.scope = trio.CancelScope()
    sock, peer = trio.socket.socketpair()
    with peer:
        check = Check.dialled(race.proofs, is_told=True)
        assert await race.take(CheckedConnection(sock, check))
        was_made = nomination.is_made
        with trio.CancelScope() as scope, race.winner:
            scope.cancel(reason="the caller does not wait any more")
            await trio.lowlevel.checkpoint()
    assert sock.fileno() == -1
    assert (was_made, nomination.is_made) == (True, False)
    assert nomination.search != search


async def test_receiver_answers_a_nomination_at_once() -> None:
    async with (
        open_port_somewhere() as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(WORDS[Word.SENDERS_PROOF] + b"hello")
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction_to(THERE), guard_hops=5, attempts=NotedAttempts()
            )
            assert await received(client) == WORDS[Word.RECEIVERS_PROOF]
            await connection.confirm()  # which has nothing to wait for
            assert await received(connection.stream) == b"hello"
        await connection.stream.aclose()


@asynccontextmanager
async def open_nominated() -> AsyncGenerator[tuple[PeerConnection, trio.SocketStream]]:
    """A sender's connection to the endpoint that it was told of, and the other end of it."""
    with trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        dialled = endpoint_of(listener.getsockname())
        introduction = attrs.evolve(
            introduction_by(ReceiverEndpoint(0, dialled, NONCE, CERTIFICATE)),
            strategy=Strategy((Dial(dialled, Route.REFLEXIVE, is_guarded=False, is_told=True),)),
        )
        async with open_port_somewhere() as shared_port:
            with trio.fail_after(PATIENCE):
                connection = await connect_introduced(
                    shared_port, introduction, guard_hops=5, attempts=NotedAttempts()
                )
                sock, _ = await listener.accept()
    async with connection.stream, trio.SocketStream(sock) as other:
        assert await received(other) == WORDS[Word.SENDERS_PROOF]  # nothing was waited for
        yield connection, other


@pytest.mark.parametrize("asked", [b"", QUESTION], ids=["not asked", "asked"])
async def test_nothing_behind_the_receivers_proof_is_read(asked: bytes) -> None:
    async with open_nominated() as (connection, other):
        await other.send_all(asked + WORDS[Word.RECEIVERS_PROOF] + b"hello")
        with trio.fail_after(PATIENCE):
            await connection.confirm()
            assert await received(connection.stream) == b"hello"


async def test_cancelled_confirmation_goes_on_where_it_was() -> None:
    async with open_nominated() as (connection, other):
        for byte in WORDS[Word.RECEIVERS_PROOF]:
            with trio.move_on_after(0.001) as scope:
                await connection.confirm()
            assert scope.cancelled_caught
            await other.send_all(bytes([byte]))
        with trio.fail_after(PATIENCE):
            await connection.confirm()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"W" * PROOF_BYTES + b"do this", WrongPeerError),
        (b"GET / HTTP/1.1\r\n\r\n", WrongPeerError),
        (WORDS[Word.SENDERS_PROOF], WrongPeerError),  # an echo
        (2 * QUESTION, WrongPeerError),
        (WORDS[Word.BUSY], BusyError),
        (QUESTION + WORDS[Word.BUSY], BusyError),
        (b"", PathLostError),
        (WORDS[Word.RECEIVERS_PROOF][:-1], PathLostError),
    ],
)
async def test_receiver_that_does_not_prove_itself(answer: bytes, error: type[P2PError]) -> None:
    async with open_nominated() as (connection, other):
        await other.send_all(answer)
        await other.send_eof()
        for _ in range(2):
            with trio.fail_after(PATIENCE), pytest.raises(error):
                await connection.confirm()


@pytest.mark.parametrize("dialler", Role)
@pytest.mark.parametrize("is_told", [True, False])
async def test_ports_that_serve_both_roles_meet(dialler: Role, is_told: bool) -> None:
    others = [proofs(b"o" * NONCE_BYTES, role) for role in Role]  # of another introduction
    async with open_port_somewhere() as dialling, open_port_somewhere() as accepting:
        with ExitStack() as stack:
            for other, port in itertools.product(others, (dialling, accepting)):
                stack.enter_context(port.expecting(other, Endpoint(THERE.address, 8)))
            there = Endpoint(IPv4Address(HOST), accepting.port)
            connections: dict[Role, PeerConnection] = {}

            async def connect(role: Role) -> None:
                port = dialling if role is dialler else accepting
                dials = (Dial(there, Route.HOST, is_guarded=False, is_told=is_told),)
                introduction = attrs.evolve(
                    introduction_by(BY_BROKER) if role is Role.SENDER else introduction_to(THERE),
                    strategy=Strategy(dials if role is dialler else ()),
                    forbidden=(),
                )
                connection = await connect_introduced(
                    port, introduction, guard_hops=5, attempts=NotedAttempts()
                )
                await connection.confirm()
                connections[role] = connection

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for role in Role:
                        nursery.start_soon(connect, role)
        opened, accepted = (connections[role].stream for role in Role)
        async with opened, accepted:
            await accepted.send_all(b"hello")
            assert await received(opened) == b"hello"
            await opened.send_all(b"hello yourself")
            assert await received(accepted) == b"hello yourself"


async def test_sender_that_checks_is_told_that_the_receiver_has_declined() -> None:
    attempts = NotedAttempts()
    async with open_port_somewhere() as receiver, open_port_somewhere() as shared_port:
        receiver.decline(NONCE)
        dialled = Endpoint(IPv4Address(HOST), receiver.port)
        introduction = attrs.evolve(
            introduction_by(BY_BROKER),
            strategy=Strategy((Dial(dialled, Route.HOST, is_guarded=False, is_told=False),)),
            forbidden=(),
        )
        with trio.fail_after(PATIENCE), pytest.raises(BusyError):
            await connect_introduced(shared_port, introduction, guard_hops=5, attempts=attempts)
    assert Outcome.WRONG_PEER not in attempts.outcomes


async def test_receiver_that_proves_itself_on_two_connections_is_nominated_on_one() -> None:
    introduction = introduction_by(BY_BROKER)
    async with open_port_somewhere() as shared_port:
        # Neither from where the broker sees it, so that both are asked who they are.
        clients = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(2)]
        for client in clients:
            await client.send_all(WORDS[Word.RECEIVERS_PROOF])
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction, guard_hops=5, attempts=NotedAttempts()
            )
        winner = endpoint_of(connection.stream.socket.getpeername())
        await connection.stream.aclose()
        for client in clients:
            said = b"".join([piece async for piece in client])
            is_winner = endpoint_of(client.socket.getsockname()) == winner
            assert said.removeprefix(QUESTION) == (WORDS[Word.SENDERS_PROOF] if is_winner else b"")
            await client.aclose()


async def test_deadline_that_passes_when_the_peer_has_been_told_of_its_nomination() -> None:
    introduction = introduction_by(BY_BROKER)

    def pass_deadline(attempt: Attempt) -> None:
        if attempt.outcome is Outcome.CONNECTED:
            scope.cancel(reason="the round is over")

    async with (
        open_port_somewhere() as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(WORDS[Word.RECEIVERS_PROOF])
        connections: list[PeerConnection] = []
        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            connections.append(
                await connect_introduced(
                    shared_port, introduction, guard_hops=5, attempts=NotedAttempts(pass_deadline)
                )
            )
        assert scope.cancel_called
        [connection] = connections
        async with connection.stream:
            assert await received(client) == QUESTION + WORDS[Word.SENDERS_PROOF]
            await client.send_all(b"hello")
            assert await received(connection.stream) == b"hello"


async def test_whoever_answers_for_another_introduction_is_not_taken() -> None:
    other_nonce = b"o" * NONCE_BYTES
    attempts = NotedAttempts(lambda _: scope.cancel(reason="the test has seen enough"))
    asked: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        asked.append(await received(stream))
        await stream.send_all(proofs(other_nonce, Role.RECEIVER).words[Word.RECEIVERS_PROOF])
        assert await received(stream) == b""  # nothing more, and above all no proof

    async with trio.open_nursery() as nursery, open_port_somewhere() as shared_port:
        [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        dialled = endpoint_of(listener.socket.getsockname())
        introduction = attrs.evolve(
            introduction_by(BY_BROKER),
            strategy=Strategy((Dial(dialled, Route.HOST, is_guarded=False, is_told=False),)),
            forbidden=(),
        )

        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            await connect_introduced(shared_port, introduction, guard_hops=5, attempts=attempts)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert asked == [WORDS[Word.CHECK]]
    [attempt] = attempts.noted
    assert (attempt.outcome, attempt.remote) == (Outcome.WRONG_PEER, dialled)


@pytest.mark.parametrize("answer", [b"", b"W" * PROOF_BYTES], ids=["nothing", "something wrong"])
async def test_whoever_asks_and_does_not_nominate_is_not_taken(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._traversal.race.PROOF_TIME", 0.1)

    def end_test(attempt: Attempt) -> None:
        if attempt.outcome is Outcome.WRONG_PEER:
            scope.cancel(reason="the test has seen enough")

    attempts = NotedAttempts(end_test)
    async with (
        open_port_somewhere() as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(WORDS[Word.CHECK])
        introduction = introduction_to(THERE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, answer)
            with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
                await connect_introduced(shared_port, introduction, guard_hops=5, attempts=attempts)
        assert await received(client) == WORDS[Word.RECEIVERS_PROOF]
        assert await received(client) == b""  # closed
    assert Outcome.WRONG_PEER in attempts.outcomes
    assert Outcome.CONNECTED not in attempts.outcomes
