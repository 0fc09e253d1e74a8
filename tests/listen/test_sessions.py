"""Sessions that peers have begun: how many one may have, and which end because of another one."""

import gc
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from trio_p2p import (
    Identity,
    P2PStream,
    PathLostError,
    Peer,
    SessionLostError,
    StreamAbortedError,
    open_peer,
)
from trio_p2p._broker_client import connection
from trio_p2p._stream.frames import MIN_WINDOW, SESSION_ID_BYTES, AbortCode, Kind, PathHello, header
from trio_p2p._wire.messages import INSTANCE_BYTES

from ..kit.connections import Mover, open_connected
from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    PATIENCE,
    TECHNIQUES,
    LoopbackBroker,
    held,
    open_broker,
    open_listener,
    settled,
    until,
)
from ..kit.raw_client import identity_of
from ..kit.sinks import ByteSink
from ..kit.streams import open_path, reset


def give_up(stream: P2PStream) -> None:
    """End the sender's side of a connection whose path is lost, so that the receiver's waits."""
    assert stream.path is not None
    reset(stream.path)
    stream.connection.carrier.fail(PathLostError("the test gives up"))


async def open_pair(
    sender: Peer, listener: trio.abc.Listener[P2PStream]
) -> tuple[P2PStream, P2PStream]:
    with trio.fail_after(PATIENCE):
        opened = await sender.open_stream("receiver")
        return opened, await listener.accept()


async def test_program_that_has_no_other_session_ends_its_older_one() -> None:
    honest = identity_of("honest")
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address, grace=100 * PATIENCE) as listener,
        open_peer(broker.address, identity=honest, techniques=DIRECT_TECHNIQUES) as one,
        open_peer(broker.address, identity=honest, techniques=DIRECT_TECHNIQUES) as another,
    ):
        opened, older = await open_pair(one, listener)
        give_up(opened)
        await until(lambda: older.path is None)
        # Another program of the same identity has nothing to do with it.
        _, others = await open_pair(another, listener)
        assert not older.is_over
        _, newer = await open_pair(one, listener)
        with trio.fail_after(PATIENCE), pytest.raises(trio.BrokenResourceError) as caught:
            await older.receive_some()
        assert isinstance(caught.value.__cause__, SessionLostError)
        assert not others.is_over
        assert not newer.is_over


async def test_broker_hears_of_a_receiver_that_has_lost_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_TIME", 1000.0)
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address) as listener,
        open_peer(broker.address, techniques=DIRECT_TECHNIQUES) as sender,
    ):
        opened, accepted = await open_pair(sender, listener)
        await settled()
        [registered] = [c for c in broker.broker._links if c.registration is not None]
        before = registered.deadline
        give_up(opened)
        await until(lambda: registered.deadline > before)
        assert not accepted.is_over


async def test_session_that_has_a_path_is_not_ended() -> None:
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address) as listener,
        open_peer(broker.address) as sender,
    ):
        pairs = [await open_pair(sender, listener)]
        # As if the first session's hello had said so, and came after the second session's.
        sender._connector._pool._begun.clear()
        pairs[0][0].connection.retire()
        pairs.append(await open_pair(sender, listener))
        for opened, accepted in pairs:
            await opened.send_all(b"?")
            assert await accepted.receive_some() == b"?"
        assert pairs[0][0].connection is not pairs[1][0].connection


# How many connections one peer may have.


@asynccontextmanager
async def open_programs(
    broker: LoopbackBroker, identity: Identity, count: int, path: str = "direct"
) -> AsyncGenerator[list[Peer]]:
    """Programs of one identity."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                open_peer(broker.address, identity=identity, techniques=TECHNIQUES[path])
            )
            for _ in range(count)
        ]


async def exchange(opened: P2PStream, accepted: P2PStream) -> None:
    await opened.send_all(b"?")
    assert await accepted.receive_some() == b"?"


async def assert_refused(sender: Peer, connections: int) -> None:
    """No new stream comes of it, and the error says why."""
    with trio.fail_after(PATIENCE):
        stream = await sender.open_stream("receiver")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
    cause = caught.value.__cause__
    assert type(cause) is StreamAbortedError
    own = sender.peer_id
    assert str(cause).startswith(f"the receiver has {connections} connections of {own}, and takes")


@pytest.mark.parametrize("path", TECHNIQUES)
async def test_newest_connection_of_a_peer_that_has_enough_is_refused(path: str) -> None:
    honest, other = identity_of("honest"), identity_of("other")
    async with (
        open_broker() as broker,
        open_peer(broker.address, max_connections=2) as receiver,
        receiver.listen("receiver") as listener,
        open_programs(broker, honest, 3, path) as programs,
        open_programs(broker, other, 1, path) as others,
    ):
        pairs = [await open_pair(each, listener) for each in programs[:2]]
        await assert_refused(programs[2], 2)
        # Another peer may have as many, and a connection any number of streams.
        pairs += [await open_pair(each, listener) for each in (*others, *programs[:2])]
        assert receiver.statistics().connections == 3
        for pair in pairs:
            await exchange(*pair)
        over = pairs[0][0].connection
        over.carrier.abort("the test does")
        for opened, accepted in pairs:
            if opened.connection is over:
                accepted.abort()
        await until(lambda: receiver.statistics().connections == 2)
        await exchange(*await open_pair(programs[2], listener))
        await assert_refused(programs[0], 2)


async def test_connection_that_moves_or_has_lost_its_path_is_no_second_one() -> None:
    async with open_connected("any", max_connections=1, identity=identity_of("one")) as connected:
        pair, mover = await connected.open_pair(), Mover(connected)
        for _ in range(3):
            await until(lambda: connected.opener.path is not None)
            moves = connected.opener.carrier.moves
            await mover.move()
            await exchange(*pair)
            assert connected.opener.carrier.moves > moves
        path = connected.opener.path
        assert path is not None
        reset(path)
        await until(lambda: connected.opener.path not in {path, None})
        await exchange(*pair)
        assert connected.receiver.statistics().connections == 1


async def test_program_that_has_given_its_only_session_up_has_room_for_another_one() -> None:
    async with (
        open_broker() as broker,
        open_listener(
            "receiver", broker.address, max_connections=1, grace=100 * PATIENCE
        ) as listener,
        open_programs(broker, identity_of("honest"), 2) as [one, another],
    ):
        opened, older = await open_pair(one, listener)
        give_up(opened)
        await until(lambda: older.path is None)
        # Another program does not end it.
        await assert_refused(another, 1)
        assert not older.is_over
        # This one does, but there is no room before the application has seen that.
        await assert_refused(one, 1)
        await until(lambda: older.is_over)
        older.abort()
        await exchange(*await open_pair(one, listener))


async def test_hostile_peer_has_no_more_connections_than_it_may() -> None:
    hostile = identity_of("hostile")
    async with (
        open_broker() as broker,
        open_peer(broker.address, max_connections=3) as receiver,
        receiver.listen("receiver") as listener,
    ):
        before = await settled()
        async with AsyncExitStack() as stack:
            for number in range(10):
                path = await stack.enter_async_context(open_path(broker, hostile))
                session, instance = map(secrets.token_bytes, (SESSION_ID_BYTES, INSTANCE_BYTES))
                hello = PathHello(0, session, 1, MIN_WINDOW, instance, is_new=True)
                path.start_sending([hello.encode()])
                sink = ByteSink()
                if number < 3:
                    assert await path.receive(sink)
                    continue
                while await path.receive(sink):
                    pass
                assert sink.data.startswith(header(Kind.ABORT, AbortCode.GIVEN_UP)[:-4])
                assert b"takes no more of one peer" in sink.data
            await until(lambda: listener.statistics().failed == 7)
            assert receiver.statistics().connections == 3
            async with open_peer(broker.address, techniques=DIRECT_TECHNIQUES) as sender:
                opened, accepted = await open_pair(sender, listener)
                await exchange(opened, accepted)
        for connection in list(receiver._controls.connections._connections):
            connection.carrier.fail(PathLostError("the test gives up"))
        await until(lambda: receiver.statistics().connections == 0)
        await until(lambda: held() == before)


async def test_connection_counts_until_its_streams_are_closed_or_dropped() -> None:
    async with (
        open_broker() as broker,
        open_peer(broker.address, max_connections=1) as receiver,
        receiver.listen("receiver") as listener,
        open_programs(broker, identity_of("hostile"), 1) as [hostile],
    ):

        async def fill_and_abort() -> P2PStream:
            """The receiver's side of a stream whose bytes were not read."""
            opened, accepted = await open_pair(hostile, listener)
            await opened.send_all(b"not read")
            await until(lambda: accepted._state.has_input)
            opened.connection.carrier.abort("the test does")
            await until(lambda: not receiver.statistics().connections)
            return accepted

        filled = await fill_and_abort()
        await assert_refused(hostile, 1)
        assert await filled.receive_some() == b"not read"
        filled.abort()
        filled = await fill_and_abort()
        await assert_refused(hostile, 1)
        del filled
        gc.collect()
        await exchange(*await open_pair(hostile, listener))
