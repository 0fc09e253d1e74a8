"""The connections of a peer: what becomes of them and their streams when it is left."""

import pytest
import trio
import trio.testing

from trio_p2p import P2PConnection, P2PStream, StreamPath, Tracer
from trio_p2p._stream.limits import ConnectionLimits
from trio_p2p._stream.open_connections import OpenConnections
from trio_p2p._stream.states import SessionRole

GRACE = 60.0
LIMITS = ConnectionLimits(window=2**20, memory=2**26, streams=100, grace=GRACE)


class Notes(Tracer):
    """What a tracer was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connection_opened(self, connection: P2PConnection) -> None:  # noqa: ARG002
        self.told.append("connection opened")

    def path_changed(self, connection: P2PConnection, path: StreamPath | None) -> None:  # noqa: ARG002
        self.told.append(f"path is {path}")

    def connection_closed(self, connection: P2PConnection) -> None:  # noqa: ARG002
        self.told.append("connection closed")

    def stream_opened(self, stream: P2PStream) -> None:  # noqa: ARG002
        self.told.append("stream opened")

    def stream_closed(self, stream: P2PStream) -> None:  # noqa: ARG002
        self.told.append("stream closed")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def connections(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, notes: Notes
) -> OpenConnections:
    return OpenConnections(nursery, notes)


def add(connections: OpenConnections, tracer: Tracer) -> P2PConnection:
    """A connection that has no path, and waits for one."""
    connection = P2PConnection(
        SessionRole.OPENER,
        bytes(16),
        bytes(16),
        LIMITS,
        nursery=connections.nursery,
        tracer=tracer,
    )
    connections.nursery.start_soon(connection.carrier.run)
    connections.add(connection)
    return connection


async def test_open_streams_are_aborted(
    connections: OpenConnections, notes: Notes, autojump_clock: trio.testing.MockClock
) -> None:
    opened = [add(connections, notes) for _ in range(3)]
    streams = [await connection.open_stream() for connection in opened for _ in range(2)]
    assert (len(connections), connections.streams) == (3, 6)
    assert connections.is_any_without_path
    began_at = trio.current_time()
    await connections.leave(GRACE)
    assert trio.current_time() == began_at
    assert (len(connections), connections.streams) == (0, 0)
    for stream in streams:
        assert stream.is_over
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await stream.receive_some()
    for connection in opened:
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await connection.open_stream()
    for what in ("connection opened", "connection closed"):
        assert notes.told.count(what) == 3
    for what in ("stream opened", "stream closed"):
        assert notes.told.count(what) == 6


async def test_closed_streams_are_waited_for_as_long_as_the_grace_time(
    connections: OpenConnections, notes: Notes, autojump_clock: trio.testing.MockClock
) -> None:
    connection = add(connections, notes)
    stream = await connection.open_stream()
    await stream.send_all(b"not delivered")
    await trio.aclose_forcefully(stream)
    began_at = trio.current_time()
    await connections.leave(GRACE / 2)
    assert trio.current_time() == began_at + GRACE / 2
    assert not connection.is_over


async def test_connection_that_comes_while_all_are_left_is_closed(
    connections: OpenConnections, notes: Notes
) -> None:
    connection = add(connections, notes)
    await trio.aclose_forcefully(await connection.open_stream())
    connections.nursery.start_soon(connections.leave, GRACE)
    await trio.testing.wait_all_tasks_blocked()
    late = add(connections, notes)
    assert late.is_over
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        await late.open_stream()


async def test_streams_are_left_also_if_everything_is_cancelled_at_once(notes: Notes) -> None:
    async with trio.open_nursery() as nursery:
        connections = OpenConnections(nursery, notes)
        connection = add(connections, notes)
        stream, aborted, closed = [await connection.open_stream() for _ in range(3)]
        aborted.abort()
        await trio.aclose_forcefully(closed)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="the test")
    assert stream.is_left
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        await stream.send_all(b"too late")
    assert not aborted.is_left
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        await aborted.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await closed.receive_some()
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        await connection.open_stream()
    assert len(connections) == 0
