"""The streams of a peer: which of them are aborted when it is left, and which it waits for."""

import pytest
import trio
import trio.testing

from trio_p2p import P2PStream
from trio_p2p._stream.carrier import Carrier
from trio_p2p._stream.open_streams import OpenStreams
from trio_p2p._stream.session import Session
from trio_p2p._stream.states import SessionRole
from trio_p2p._stream.tracer import Tracer
from trio_p2p._stream.window import DEFAULT_WINDOW

from ..kit.raw_client import identity_of

GRACE = 60.0


def add_stream(streams: OpenStreams) -> P2PStream:
    """A stream that has no path, and waits for one."""
    session = Session(SessionRole.ACCEPTOR, bytes(16), DEFAULT_WINDOW, trio.current_time())
    carrier = Carrier(session, GRACE, streams.nursery)
    streams.nursery.start_soon(carrier.run)
    return streams.add(carrier, identity_of("receiver").peer_id)


async def test_open_streams_are_aborted(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    streams = OpenStreams(nursery, Tracer())
    opened = [add_stream(streams) for _ in range(3)]
    assert len(streams) == 3
    began_at = trio.current_time()
    await streams.leave(GRACE)
    assert trio.current_time() == began_at
    assert len(streams) == 0
    for stream in opened:
        assert stream.is_over
        with pytest.raises(trio.ClosedResourceError, match="was left"):
            await stream.receive_some()


async def test_closed_streams_are_waited_for_as_long_as_the_grace_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    streams = OpenStreams(nursery, Tracer())
    closed = add_stream(streams)
    await closed.send_all(b"not delivered")
    await trio.aclose_forcefully(closed)
    began_at = trio.current_time()
    await streams.leave(GRACE / 2)
    assert trio.current_time() == began_at + GRACE / 2
    assert not closed.is_over


async def test_stream_that_comes_while_all_are_left_is_aborted(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    streams = OpenStreams(nursery, Tracer())
    await trio.aclose_forcefully(add_stream(streams))
    nursery.start_soon(streams.leave, GRACE)
    await trio.testing.wait_all_tasks_blocked()
    late = add_stream(streams)
    assert late.is_over
    with pytest.raises(trio.ClosedResourceError, match="was left"):
        await late.send_all(b"too late")
