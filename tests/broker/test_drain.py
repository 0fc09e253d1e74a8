"""A broker that is ended: what is under way goes on to its end, or for as long as it may."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_p2p import Endpoint
from trio_p2p._broker.drain import drain
from trio_p2p._broker.link import FAREWELL_TIME
from trio_p2p._wire.messages import Draining

from ..kit.loopback import (
    HOST,
    LoopbackBroker,
    open_broker,
    open_listener,
    open_stream,
    until,
)
from ..kit.raw_client import RawClient, open_memory_broker

SOON = Draining(1)
LONG = 600.0  # seconds of grace that no test waits for


@asynccontextmanager
async def draining(
    broker: LoopbackBroker, grace: float, brokers: Sequence[str] = ()
) -> AsyncGenerator[trio.Event]:
    """Drain a broker while the block lasts; set when it has ended."""
    ended = trio.Event()

    async def run() -> None:
        await drain(broker.broker, attrs.evolve(SOON, brokers=tuple(brokers)), grace)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield ended
        await ended.wait()


async def connect(broker: LoopbackBroker) -> RawClient:
    return RawClient(await trio.open_tcp_stream(*broker.address))


async def test_idle_broker_ends_at_once_and_says_so() -> None:
    async with open_broker() as broker, await connect(broker) as client:
        await client.register("alice")
        async with draining(broker, LONG):
            assert await client.wait_closed() == [SOON]
        with pytest.raises(OSError, match="connect"):
            await connect(broker)


async def test_circuit_goes_on_to_its_end() -> None:
    """Not one byte is lost that is relayed within the grace."""
    size = 3_000_000
    async with (
        open_broker() as broker,
        open_listener("alice", broker.address, techniques=["relay"], grace=0) as listener,
        open_stream("alice", broker.address, techniques=["relay"], grace=0) as stream,
    ):
        await stream.send_all(b"before")
        accepted = await listener.accept()
        async with accepted, draining(broker, LONG) as ended:
            await until(lambda: broker.broker.registry.is_draining)
            assert broker.broker.registry.circuits == 1

            async def send() -> None:
                await stream.send_all(bytes(size))
                await stream.send_eof()

            count = 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                async for piece in accepted:
                    count += len(piece)
            assert count == len(b"before") + size
            assert not ended.is_set()
            await accepted.send_eof()
            assert await stream.receive_some() == b""
            await stream.aclose()
            await accepted.aclose()
            await stream.connection.aclose()


async def test_circuits_are_cut_when_the_grace_is_over() -> None:
    async with (
        open_broker() as broker,
        open_listener("alice", broker.address, techniques=["relay"], grace=0) as listener,
        open_stream("alice", broker.address, techniques=["relay"], grace=0) as stream,
    ):
        await stream.send_all(b"x")
        async with await listener.accept() as accepted:
            assert await accepted.receive_some() == b"x"
            async with draining(broker, 0.1):
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await stream.receive_some()
            assert "the broker was stopped" in str(caught.value.__cause__ or caught.value)


async def test_receiver_that_was_asked_before_can_still_come() -> None:
    async with (
        open_broker() as broker,
        await connect(broker) as receiver,
        await connect(broker) as sender,
    ):
        await receiver.register("alice")
        await sender.greet()
        await sender.ask("alice", "classic")
        await until(lambda: broker.broker.registry.pending_introductions == 1)
        async with draining(broker, LONG) as ended:
            await until(lambda: broker.broker.registry.is_draining)
            async with await connect(broker) as another:  # the listeners are still there
                await another.greet()
            assert not ended.is_set()
            await sender.aclose()


async def test_broker_that_sends_clients_away_waits_until_they_have_left(
    autojump_clock: MockClock,
) -> None:
    other = "198.51.100.7:4433"
    async with open_memory_broker() as broker, broker.connect() as client:
        await client.register("alice")
        notice = Draining(5000, (other,))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, broker.broker, notice, 30.0)
            assert await client.receive(Draining) == notice
            await trio.sleep(20)
            assert broker.uids == {"alice"}
            await client.aclose()
            left_at = trio.current_time()
            await trio.testing.wait_all_tasks_blocked()
            while broker.served == 0:  # noqa: ASYNC110 - the broker's state
                await trio.sleep(0.01)
        assert trio.current_time() < left_at + FAREWELL_TIME + 1


async def test_clients_that_do_not_leave_do_not_keep_the_broker(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as client:
        await client.register("alice")
        began_at = trio.current_time()
        await drain(broker.broker, Draining(5000, ("198.51.100.7:4433",)), 30.0)
        assert began_at + 30 <= trio.current_time() < began_at + 33


# What peers make of it.


async def test_peers_use_another_broker_and_their_streams_go_on() -> None:
    async with (
        open_broker() as first,
        open_broker() as second,
        open_listener("alice", first.address) as listener,
        open_stream("alice", first.address) as stream,
    ):
        await stream.send_all(b"before")
        accepted = await listener.accept()
        moved = f"{HOST}:{second.port}"
        async with accepted, draining(first, LONG, [moved]):
            await until(lambda: second.uids == {"alice"})
            await stream.send_all(b", after")
            await stream.send_eof()
            assert b"".join([piece async for piece in accepted]) == b"before, after"
        # The first broker's sender has moved, too; so has the receiver for good.
        async with open_stream("alice", second.address) as another:
            await another.send_all(b"x")
            async with await listener.accept() as accepted:
                assert await accepted.receive_some() == b"x"


async def test_name_is_registered_elsewhere_before_it_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_broker() as first, open_broker() as second:
        registered: list[bool] = []
        begin = second.broker.registry._observer.registered

        def note(uid: str, endpoint: Endpoint) -> None:
            registered.append(uid in first.uids)
            begin(uid, endpoint)

        monkeypatch.setattr(second.broker.registry._observer, "registered", note)
        async with open_listener("alice", first.address):
            async with draining(first, LONG, [f"{HOST}:{second.port}"]):
                await until(lambda: second.uids == {"alice"})
            assert registered == [True]


async def test_peers_come_back_to_a_broker_that_is_started_again() -> None:
    async with open_broker() as broker, open_listener("alice", broker.address) as listener:
        async with draining(broker, LONG):
            pass
        await broker.kill()
        await broker.start()
        await until(lambda: broker.uids == {"alice"})
        async with open_stream("alice", broker.address) as stream:
            await stream.send_all(b"x")
            async with await listener.accept() as accepted:
                assert await accepted.receive_some() == b"x"


async def test_broker_that_does_not_answer_is_not_moved_to() -> None:
    """What a broker names in its place may be down; then it counts as started again itself."""
    async with (
        open_broker() as broker,
        open_broker() as gone,
        open_listener("alice", broker.address),
    ):
        await gone.kill()
        async with draining(broker, 0.2, [f"{HOST}:{gone.port}"]):
            pass
        await broker.kill()
        await broker.start()
        await until(lambda: broker.uids == {"alice"})
