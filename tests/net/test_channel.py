"""Messages over a stream that does not take everything at once."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_p2p._net.channel import Channel, ChannelClosedError
from trio_p2p._net.system import AnySocket, System, system_in_use
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    MAX_CERTIFICATE_BYTES,
    Hello,
    IntroductionRequest,
    KeepAlive,
    Kill,
    Message,
    StreamKind,
)

from ..kit.raw_client import RawClient


@asynccontextmanager
async def narrow_pair() -> AsyncGenerator[tuple[Channel, Channel]]:
    """Two ends of a TCP connection that holds few messages on the way."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        one.connect(server.getsockname())
        other, _ = server.accept()
    ends = [trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in (one, other)]
    async with ends[0], ends[1]:
        yield Channel(ends[0]), Channel(ends[1])


def long_message(number: int) -> Message:
    certificate = bytes(MAX_CERTIFICATE_BYTES)
    return IntroductionRequest(number, "u" * 128, "t" * 512, StreamKind.RAW, certificate)


async def fill(channel: Channel) -> int:
    """Send until nothing more is taken; how many were sent, and one in part."""
    count = 0
    while (unsent := channel.start_sending(encode(long_message(count)))) is None:
        count += 1
    assert unsent.data
    with trio.move_on_after(0.01) as waiting:
        await channel.finish_sending(unsent)
    assert waiting.cancelled_caught
    return count


async def test_frames_of_many_tasks_never_mix() -> None:
    async with narrow_pair() as (sender, receiver), trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(sender.send, long_message(number), KeepAlive())
        await trio.testing.wait_all_tasks_blocked()
        numbers = set()
        for _ in range(200):
            message = await receiver.receive()
            assert isinstance(message, IntroductionRequest)
            assert await receiver.receive() == KeepAlive()
            numbers.add(message.number)
    assert numbers == set(range(200))


class HastySystem(System):
    """A system whose sockets count as readable before anything has come, at first."""

    def __init__(self) -> None:
        self.readings = 0

    def read(self, sock: AnySocket, most: int) -> bytes:
        self.readings += 1
        if self.readings <= 3:
            raise BlockingIOError
        return super().read(sock, most)


async def test_socket_that_is_not_readable_after_all_is_waited_for() -> None:
    system = HastySystem()
    with system_in_use(system):
        async with narrow_pair() as (sender, receiver):
            await sender.send(Hello())
            assert await receiver.receive() == Hello()
    assert system.readings == 4


async def test_messages_that_are_there_leave_room_for_other_tasks() -> None:
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            steps += 1
            await trio.lowlevel.checkpoint()

    async with narrow_pair() as (sender, receiver), trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(20):
            await sender.send(KeepAlive())
            assert await receiver.receive() == KeepAlive()
        assert steps >= 20 - 1  # in each turn the tasks run in any order
        nursery.cancel_scope.cancel()


async def test_cancelled_channel_takes_no_message() -> None:
    async with narrow_pair() as (sender, receiver):
        await sender.send(KeepAlive())
        with trio.CancelScope() as scope:
            scope.cancel()
            await receiver.receive()
        assert scope.cancelled_caught
        assert await receiver.receive() == KeepAlive()


async def test_half_a_frame_is_the_last_one() -> None:
    async with narrow_pair() as (sender, receiver):
        count = await fill(sender)
        for number in range(count):
            assert await receiver.receive() == long_message(number)
        with pytest.raises(ChannelClosedError):
            await receiver.receive()
        with pytest.raises(ChannelClosedError):
            await sender.send(Hello())


async def test_cancelled_before_its_turn_leaves_the_channel_open() -> None:
    async with narrow_pair() as (sender, receiver), trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(sender.send, long_message(number))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01) as waiting:
            await sender.send(Hello())
        assert waiting.cancelled_caught
        for _ in range(50):
            assert isinstance(await receiver.receive(), IntroductionRequest)


async def test_closed_channel_says_whether_a_message_was_cut(autojump_clock: MockClock) -> None:
    for data, expected in [
        (b"", "the other side closed the connection"),
        (b"\xc4\x05ab", "the other side closed the connection in the middle of a message"),
    ]:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        await theirs.aclose()
        with pytest.raises(ChannelClosedError) as caught:
            await RawClient(ours).channel.receive()
        assert str(caught.value) == expected


async def test_sender_cancelled_in_the_queue_does_no_harm() -> None:
    # Over sockets: their sends are no checkpoints while there is room.
    for _ in range(20):  # the order of tasks is random
        left, right = (trio.SocketStream(sock) for sock in trio.socket.socketpair())
        async with RawClient(left) as sending, RawClient(right) as receiving:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def send_scoped(scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await sending.send(KeepAlive())

                nursery.start_soon(sending.send, KeepAlive())
                nursery.start_soon(send_scoped)
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                scope.cancel(reason="the test says so")
            await sending.send(Kill())
            await sending.aclose()
            assert (await receiving.wait_closed())[-1] == Kill()
