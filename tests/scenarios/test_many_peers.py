"""Many streams, one after the other and at once, and brokers that come and go under them."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address

import pytest
import trio
import trio.testing
from trio.abc import HalfCloseableStream

from trio_p2p import (
    Endpoint,
    PathKind,
    UIDTakenError,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
    serve_broker,
    serve_p2p,
)
from trio_p2p._wire.messages import Kill

from ..kit.lab import KernelNetwork, Nat, run, running, start
from ..kit.loopback import (
    ANY_WAY,
    PATIENCE,
    RAW_WAYS,
    SESSION_WAYS,
    WAYS,
    LoopbackBroker,
    Way,
    echo,
    exchange,
    held,
    open_broker,
    serve_raw,
    settled,
    until,
)
from ..kit.raw_client import BROKER, RawClient

pytestmark = pytest.mark.once

SENDERS = 20
CYCLES = 200
SESSION_CYCLES = 50  # each costs more, and leaves as little
LINGER_TIME = 0.05  # seconds; the other end of a stream is over a little later than ours

RELAY = SESSION_WAYS[-1]
EVERY_WAY = pytest.mark.parametrize("way", [*WAYS, ANY_WAY], ids=str)


def some_data(seed: object, size: int = 10_000) -> bytes:
    return random.Random(str(seed)).randbytes(size)


# Many at once


@EVERY_WAY
async def test_senders_at_the_same_moment(way: Way) -> None:
    async def send(number: int) -> None:
        async with way.open_stream("echo", broker.address) as stream:
            assert await exchange(stream, some_data(number)) == some_data(number)

    async with open_broker() as broker, trio.open_nursery() as nursery:
        listener = await nursery.start(way.serve, echo, "echo", broker.address)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as senders:
                for number in range(SENDERS):
                    senders.start_soon(send, number)
        assert listener.statistics().connected == SENDERS
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("way", [*RAW_WAYS, SESSION_WAYS[0]], ids=str)
def test_senders_at_the_same_moment_behind_nats(kernel_network: KernelNetwork, way: Way) -> None:
    host, receiver = kernel_network.add_host(), kernel_network.add_site(Nat())
    sites = [kernel_network.add_site(Nat()) for _ in range(SENDERS)]

    async def send(number: int) -> None:
        with trio.fail_after(2 * PATIENCE):
            async with way.open_stream("echo", broker) as stream:
                assert await exchange(stream, some_data(number)) == some_data(number)

    with running(host.host, serve_broker, 0) as listeners:
        broker = str(host.host_address), listeners[0].socket.getsockname()[1]
        with running(receiver.host, way.serve, echo, "echo", broker):
            run(sites[0].host, send, -1)  # the way is warm
            sending = [start(site.host, send, number) for number, site in enumerate(sites)]
            for sent in sending:
                sent.result()


@EVERY_WAY
async def test_streams_over_one_sender_at_the_same_moment(way: Way) -> None:
    uids = [f"echo {number}" for number in range(4)]

    async def send(uid: str, number: int) -> None:
        data = some_data((uid, number))
        assert await exchange(await way.open_stream_of(sender, uid), data) == data

    async with open_broker() as broker, trio.open_nursery() as nursery:
        for uid in uids:
            await nursery.start(way.serve, echo, uid, broker.address)
        before = await settled()
        with trio.fail_after(PATIENCE):
            async with (
                way.open_peer(broker.address) as sender,
                trio.open_nursery() as senders,
            ):
                for uid in uids:
                    for number in range(5):
                        senders.start_soon(send, uid, number)
        await until(lambda: held() == before)
        nursery.cancel_scope.cancel(reason="the test is over")


# Many one after the other


@EVERY_WAY
async def test_cycles_of_connect_transfer_and_close_leave_nothing(way: Way) -> None:
    async def cycle() -> None:
        with trio.fail_after(PATIENCE):
            async with way.open_stream("echo", broker.address) as stream:
                assert await exchange(stream, some_data("cycle")) == some_data("cycle")

    cycles = CYCLES if way.is_raw else SESSION_CYCLES
    at_first = held()
    async with open_broker() as broker:
        before_registration = held()
        async with trio.open_nursery() as nursery:
            listener = await nursery.start(way.serve, echo, "echo", broker.address)
            await cycle()
            before = await settled()
            for _ in range(cycles):
                await cycle()
            await until(lambda: held() == before)
            assert listener.statistics().connected == cycles + 1
            nursery.cancel_scope.cancel(reason="the receiver quits")
        await until(lambda: held() == before_registration)
        assert broker.uids == frozenset()
        assert broker.broker.registry.pending_introductions == 0
        assert broker.broker.registry.circuits == 0
    await until(lambda: held() == at_first)


async def test_cycles_over_one_sender_leave_nothing() -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        await nursery.start(serve_raw, echo, "raw", broker.address)
        await nursery.start(serve_p2p, echo, "session", broker.address)
        before = await settled()
        async with open_peer(broker.address) as sender:
            with trio.fail_after(2 * PATIENCE):
                for _ in range(CYCLES):
                    await exchange(await sender.open_raw_stream("raw"), b"data")
                for _ in range(SESSION_CYCLES):
                    await exchange(await sender.open_stream("session"), b"data")
        await until(lambda: held() == before)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_cycles_of_registration_leave_nothing() -> None:
    async with open_broker() as broker:
        before = held()
        for _ in range(CYCLES // 4):
            async with open_p2p_listener("receiver", broker.address):
                assert broker.uids == {"receiver"}
        await until(lambda: held() == before)
        assert broker.uids == frozenset()


# Brokers that come and go


@pytest.mark.parametrize("way", [way for way in WAYS if way != RELAY], ids=str)
async def test_broker_killed_and_restarted_is_found_again(way: Way) -> None:
    async def send_and_receive() -> None:
        await opened.send_all(b"ping")
        assert await accepted.receive_some() == b"ping"
        await accepted.send_all(b"pong")
        assert await opened.receive_some() == b"pong"

    with trio.fail_after(PATIENCE):
        async with (
            open_broker() as broker,
            way.open_listener("receiver", broker.address) as listener,
            way.open_peer(broker.address) as sender,
            await way.open_stream_of(sender, "receiver") as opened,
            await listener.accept() as accepted,
        ):
            await send_and_receive()
            for registrations in (2, 3):
                await broker.kill()
                await send_and_receive()
                await broker.start()
                await until(lambda: broker.uids == {"receiver"})
                await send_and_receive()
                async with (
                    await way.open_stream_of(sender, "receiver") as another,
                    await listener.accept() as its_end,
                ):
                    await another.send_all(b"found again")
                    assert await its_end.receive_some() == b"found again"
                assert listener.statistics().registrations == registrations


async def test_relayed_streams_go_on_when_the_broker_is_back() -> None:
    with trio.fail_after(PATIENCE):
        async with (
            open_broker() as broker,
            RELAY.open_listener("receiver", broker.address) as listener,
            RELAY.open_stream("receiver", broker.address) as opened,
            await listener.accept() as accepted,
        ):
            for number in range(2):
                await opened.send_all(b"before")
                assert await accepted.receive_some() == b"before"
                await broker.kill()
                await opened.send_all(bytes([number]))
                await accepted.send_all(bytes([number]))
                await broker.start()
                assert await accepted.receive_some() == bytes([number])
                assert await opened.receive_some() == bytes([number])


async def test_streams_move_to_a_direct_path_and_do_not_need_the_broker_any_more() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("receiver", broker.address) as listener,
        open_p2p_stream("receiver", broker.address) as opened,
        await listener.accept() as accepted,
    ):
        with trio.fail_after(PATIENCE):
            for stream in (opened, accepted):
                while stream.path is None or stream.path.kind is not PathKind.DIRECT:
                    await stream.wait_path_changed(stream.path)
        await broker.kill()
        assert await trip(opened, accepted) == await trip(accepted, opened) == b"data"


async def trip(source: HalfCloseableStream, target: HalfCloseableStream) -> bytes:
    await source.send_all(b"data")
    return bytes(await target.receive_some())


@asynccontextmanager
async def open_proxy(
    broker: LoopbackBroker,
) -> AsyncGenerator[tuple[tuple[str, int], list[trio.CancelScope]]]:
    """Connections to a broker, whose client's half ends, and only that, when cancelled."""
    halves: list[trio.CancelScope] = []

    async def pass_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)

    async def serve(near: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(*broker.address) as far:
            async with near, trio.open_nursery() as nursery:
                halves.append(nursery.cancel_scope)
                nursery.start_soon(pass_on, near, far)
                nursery.start_soon(pass_on, far, near)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[:2], halves
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_receiver_takes_its_uid_back_while_its_old_connection_hangs() -> None:
    with trio.fail_after(PATIENCE):
        async with (
            open_broker() as broker,
            open_proxy(broker) as (address, halves),
            open_p2p_listener("receiver", address) as listener,
        ):
            halves[0].cancel(reason="the connection breaks, for the receiver")
            with pytest.raises(UIDTakenError):
                async with open_p2p_listener("receiver", broker.address):
                    pass
            await until(lambda: listener.statistics().registrations == 2)
            assert broker.uids == {"receiver"}
            with pytest.raises(UIDTakenError):
                async with open_p2p_listener("receiver", broker.address):
                    pass


async def test_uid_that_a_stranger_took_while_the_broker_was_away_is_taken_back_when_it_is_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE):
            async with (
                open_broker() as broker,
                open_p2p_listener("receiver", broker.address) as listener,
            ):
                await broker.kill()
                ours, brokers = trio.testing.memory_stream_pair()
                endpoint = Endpoint(IPv4Address("192.0.2.1"), 1)
                broker.broker.writers = nursery
                now = trio.current_time()
                connection = broker.broker.registry.connected(endpoint, BROKER, now)
                # It ends when its client does, below.
                nursery.start_soon(broker.broker.serve, brokers, connection)  # noqa: ASYNC111
                async with RawClient(ours) as stranger:
                    await stranger.register("receiver")
                    await broker.start()
                    await until(lambda: "another receiver is registered" in caplog.text)
                    assert listener.statistics().registrations == 1
                    await stranger.send(Kill())
                await until(lambda: listener.statistics().registrations == 2)
