"""Paths: TLS over TCP connections on the loopback interface."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from trio_p2p._errors import NotAdmittedError, RemoteProtocolError, WrongPeerError
from trio_p2p._identity.identity import Identity
from trio_p2p._stream.path import TAIL_BYTES, Path
from trio_p2p._stream.tls import make_context

from ..kit.loopback import crash, held, open_streams
from ..kit.sinks import ByteSink

CLIENT, SERVER, STRANGER = (Identity.generate() for _ in range(3))
CLOGGED_AFTER = 0.05  # seconds without room
LIMIT_BYTES = 16_384


def client_path(
    stream: trio.SocketStream, identity: Identity = CLIENT, expected: Identity = SERVER
) -> Path:
    context = make_context(identity)
    return Path(stream, context, server_side=False, peer_certificate=expected.certificate)


def server_path(
    stream: trio.SocketStream,
    identity: Identity = SERVER,
    expected: Identity = CLIENT,
    received: bytes = b"",
) -> Path:
    context = make_context(identity)
    return Path(
        stream,
        context,
        server_side=True,
        peer_certificate=expected.certificate,
        received=received,
    )


async def together(*functions: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        for function in functions:
            nursery.start_soon(function)


async def begin(client: Path, server: Path) -> None:
    """Shake hands as sessions do: the client goes on at once with its first words."""

    async def greet() -> None:
        await client.do_handshake()
        await send(client, b"hello")

    await together(greet, server.do_handshake)
    assert await receive(server, 5) == b"hello"


@asynccontextmanager
async def open_paths() -> AsyncGenerator[tuple[Path, Path]]:
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other)
        await begin(client, server)
        yield client, server


async def send(path: Path, *pieces: bytes | memoryview) -> None:
    """Send some bytes, and wait until all of them have left."""
    path.start_sending(pieces)
    if path.is_sending:
        await path.finish_sending()


async def receive_some(path: Path) -> bytes:
    """What has come, or comes next; nothing at the end."""
    sink = ByteSink()
    count = await path.receive(sink)
    assert count == len(sink.data)
    return bytes(sink.data)


async def receive(path: Path, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = await receive_some(path)
        assert piece, f"the end after {len(data)} bytes"
        data += piece
    return bytes(data)


async def fill(path: Path) -> None:
    """Send more than a connection takes that nobody reads from."""
    while True:
        await send(path, bytes(2**18))


async def test_both_sides_get_what_the_other_one_sends() -> None:
    async with open_paths() as (client, server):
        await send(server, b"to the ", memoryview(b"client"), b"")
        assert await receive(client, 13) == b"to the client"
        await send(client, b"")
        await send(client, b"to the server")
        assert await receive(server, 13) == b"to the server"


async def test_a_client_that_only_receives_ends_its_handshake_too() -> None:
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other)

        async def serve() -> None:
            await server.do_handshake()
            await send(server, b"welcome")

        async def listen() -> None:
            await client.do_handshake()
            assert await receive(client, 7) == b"welcome"

        await together(serve, listen)


async def test_much_goes_both_ways_at_once_and_arrives_as_it_was() -> None:
    lengths = [1, 16_384, 16_385, 2**17, 2**17 + 1, 2**18 + 13, 3_000_001, 0, 5]
    data = os.urandom(sum(lengths))

    async def send_all(path: Path) -> None:
        position = 0
        for length in lengths:
            await send(path, b"head", memoryview(data)[position : position + length], b"")
            position += length

    expected, position = b"", 0
    for length in lengths:
        expected += b"head" + data[position : position + length]
        position += length

    async def check(path: Path) -> None:
        assert await receive(path, len(expected)) == expected

    async with open_paths() as paths, trio.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(send_all, path)
            nursery.start_soon(check, path)


async def test_many_paths_share_the_buffers_and_nobody_gets_anothers_bytes() -> None:
    async def talk(number: int) -> None:
        word = bytes([number]) * 100_000
        async with open_paths() as (client, server):

            async def check() -> None:
                assert await receive(server, 20 * len(word)) == 20 * word

            async with trio.open_nursery() as nursery:
                nursery.start_soon(check)
                for _ in range(20):
                    await send(client, word)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(talk, number)


async def test_a_client_finds_another_server_and_both_learn_of_it() -> None:
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other, STRANGER)

        async def refuse() -> None:
            with pytest.raises(WrongPeerError):
                await client.do_handshake()
            client.close()

        async def be_refused() -> None:
            with pytest.raises(NotAdmittedError):
                await server.do_handshake()

        await together(refuse, be_refused)


async def test_a_server_finds_another_client_and_both_learn_of_it() -> None:
    async with open_streams() as (one, other):
        client, server = client_path(one, STRANGER), server_path(other)

        async def refuse() -> None:
            with pytest.raises(WrongPeerError):
                await server.do_handshake()
            server.close()

        async def be_refused() -> None:
            await client.do_handshake()
            await send(client, b"nobody is to get this")
            with pytest.raises(trio.BrokenResourceError) as caught:
                await receive_some(client)
            assert isinstance(caught.value.__cause__, NotAdmittedError)

        await together(refuse, be_refused)


@pytest.mark.parametrize("server_side", [False, True])
async def test_garbage_is_no_handshake(server_side: bool) -> None:
    async with open_streams() as (one, other):
        path = server_path(one) if server_side else client_path(one)
        await other.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(RemoteProtocolError):
            await path.do_handshake()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03"])
async def test_the_end_during_the_handshake_is_a_broken_connection(sent: bytes) -> None:
    async with open_streams() as (one, other):
        await other.send_all(sent)
        await other.send_eof()
        with pytest.raises(trio.BrokenResourceError, match="during the handshake"):
            await server_path(one).do_handshake()


async def test_what_somebody_else_received_before_counts() -> None:
    async with open_streams() as (one, other):
        client = client_path(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin_with, client, b"first words")
            first = await other.receive_some()
            server = server_path(other, received=first)
            await server.do_handshake()
            assert await receive(server, 11) == b"first words"


async def begin_with(client: Path, words: bytes) -> None:
    await client.do_handshake()
    await send(client, words)


async def test_clients_first_flight_leaves_without_waiting() -> None:
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other)
        await client.start_handshake()
        with trio.fail_after(1):
            await other.send_all(b"word")  # which is for another reader, before TLS
            assert await one.receive_some(4) == b"word"
        await begin(client, server)


async def test_the_end_of_the_connection_is_the_end_wherever_it_comes() -> None:
    async with open_paths() as (client, server):
        await send(server, b"some")
        server.close()
        assert await receive(client, 4) == b"some"
        for _ in range(2):
            assert not await receive_some(client)


async def test_a_reset_breaks_the_path() -> None:
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other)
        await begin(client, server)
        crash(other)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await receive_some(client)
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(trio.BrokenResourceError):
            await send(client, b"to nobody")
        with pytest.raises(trio.ClosedResourceError):
            await send(client, b"to nobody")


async def test_the_last_words_in_clear_are_kept_behind_what_is_good() -> None:
    words = b"the relay has carried enough"
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other)
        await begin(client, server)
        await send(server, b"good")
        await other.send_all(words)
        assert await receive(client, 4) == b"good"
        with pytest.raises(trio.BrokenResourceError) as caught:
            await receive_some(client)
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        assert client.tail.endswith(words)
        with pytest.raises(trio.BrokenResourceError) as caught:  # the alert got there
            await receive_some(server)
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await send(server, b"into the void")
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        client.send_at_once(b"nor that")


async def test_the_tail_is_made_of_pieces_and_never_longer_than_it_may_be() -> None:
    async with open_streams() as (one, other):
        client, server = client_path(one), server_path(other)
        await begin(client, server)
        for piece in (bytes(3 * TAIL_BYTES), b"some ", b"last"):
            await send(server, piece)
            await receive(client, len(piece))
        assert len(client.tail) == TAIL_BYTES
        await other.send_all(b"words")
        with pytest.raises(trio.BrokenResourceError):
            await receive_some(client)
        assert client.tail.endswith(b"words")
        assert len(client.tail) == TAIL_BYTES


async def test_a_farewell_is_the_last_that_is_sent() -> None:
    async with open_paths() as (client, server):
        server.send_at_once(b"farewell")
        server.send_at_once(b"and again")
        with pytest.raises(trio.ClosedResourceError):
            await send(server, b"one more thing")
        server.close()
        assert await receive(client, 8) == b"farewell"
        assert not await receive_some(client)


async def test_a_farewell_is_not_said_before_the_handshake_nor_on_a_closed_path() -> None:
    async with open_streams() as (one, _):
        path = client_path(one)
        path.send_at_once(b"farewell")
        path.close()
        path.close()
        path.send_at_once(b"farewell")


async def test_a_farewell_does_not_get_into_the_midst_of_something() -> None:
    async with open_paths() as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(fill, client)
        await trio.testing.wait_all_tasks_blocked()
        client.send_at_once(b"farewell")
        with pytest.raises(trio.BusyResourceError):
            await send(client, b"me too")
        nursery.cancel_scope.cancel(reason="enough is sent")
        while data := await receive_some(server):
            assert not any(data)


async def test_who_waits_learns_that_the_path_is_closed() -> None:
    async def wait_for(function: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await function()

    async with open_paths() as (client, _), trio.open_nursery() as nursery:
        nursery.start_soon(wait_for, lambda: receive_some(client))
        nursery.start_soon(wait_for, lambda: fill(client))
        await trio.testing.wait_all_tasks_blocked()
        client.close()
        await wait_for(lambda: receive_some(client))


def start_sending_bits(path: Path) -> int:
    """Send a little again and again until it is not taken; how many bytes that were."""
    sent = 0
    while not path.is_sending:
        path.start_sending((bytes(100),))
        sent += 100
    return sent


async def test_bits_and_pieces_wait_for_room_too() -> None:
    async with open_paths() as (client, server), trio.open_nursery() as nursery:
        sent = 0
        while not client.is_sending:  # what the kernel acknowledges late makes room again
            sent += start_sending_bits(client)
            nursery.start_soon(client.finish_sending)
            await trio.testing.wait_all_tasks_blocked(CLOGGED_AFTER)
        with pytest.raises(trio.BusyResourceError):
            await client.finish_sending()
        assert await receive(server, sent) == bytes(sent)


async def test_path_with_a_limit_looks_whether_there_is_room_when_it_has_sent_so_much() -> None:
    async with open_paths() as (client, server):
        client.limit_unsent(LIMIT_BYTES)
        sent = start_sending_bits(client)
        assert LIMIT_BYTES // 2 < sent <= LIMIT_BYTES  # the rest is TLS's
        await client.finish_sending()  # the kernel has sent it all
        assert not client.is_sending
        assert await receive(server, sent) == bytes(sent)


async def test_path_whose_limit_is_lifted_takes_more_at_once() -> None:
    async with open_paths() as (client, _):
        client.limit_unsent(LIMIT_BYTES)
        client.start_sending((bytes(LIMIT_BYTES),))
        client.limit_unsent(2**31 - 1)
        assert not client.is_sending


async def test_farewell_does_not_wait_for_room_within_the_limit() -> None:
    async with open_paths() as (client, server):
        client.limit_unsent(LIMIT_BYTES)
        client.start_sending((bytes(LIMIT_BYTES),))
        assert client.is_sending
        client.send_at_once(b"farewell")
        assert await receive(server, LIMIT_BYTES + 8) == bytes(LIMIT_BYTES) + b"farewell"


async def test_cancelled_before_it_receives_a_path_is_as_good_as_before() -> None:
    async with open_paths() as (client, server):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test does")
            await receive_some(client)
        await send(server, b"this")
        assert await receive(client, 4) == b"this"


async def test_cancelled_while_it_receives_a_path_loses_nothing() -> None:
    async with open_paths() as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_some, client)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="the test does")
        await send(server, b"still here")
        assert await receive(client, 10) == b"still here"


async def test_cancelled_while_it_sends_a_path_sends_the_rest_when_it_is_called_again() -> None:
    async with open_paths() as (client, server):
        data = os.urandom(2**24)
        client.start_sending((data,))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.finish_sending)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="the test does")
        assert client.is_sending

        async def check() -> None:
            assert await receive(server, len(data)) == data

        await together(client.finish_sending, check)
        assert not client.is_sending


class Canceller(trio.abc.Instrument):
    """Cancels a scope at the k-th step of the task that runs in it."""

    def __init__(self, steps_left: int) -> None:
        self.steps_left = steps_left
        self.scope = trio.CancelScope()
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.scope.cancel(reason="this is the step")


async def talk_as(path: Path, *, is_client: bool) -> None:
    try:
        await path.do_handshake()
        if is_client:
            await send(path, b"ping", bytes(2**18))
        await receive(path, 2**18 + 4)
        if not is_client:
            await send(path, b"pong", bytes(2**18))
    finally:
        path.close()


@pytest.mark.parametrize("is_client", [False, True])
async def test_cancellation_at_any_step_leaks_nothing(is_client: bool) -> None:
    async def talk(path: Path) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
            await talk_as(path, is_client=not is_client)

    before = held()
    step = 0
    while True:
        step += 1
        canceller = Canceller(step)
        async with open_streams() as (one, other), trio.open_nursery() as nursery:
            client, server = client_path(one), server_path(other)
            mine, others = (client, server) if is_client else (server, client)
            nursery.start_soon(talk, others)
            trio.lowlevel.add_instrument(canceller)
            with canceller.scope:
                await talk_as(mine, is_client=is_client)
            trio.lowlevel.remove_instrument(canceller)
            assert mine._connection.stream.socket.fileno() == -1
        assert held() == before
        if canceller.steps_left > 0:
            break
    assert step > 5  # steps were counted, that is
