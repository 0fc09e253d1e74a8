"""What circuits share: the rate of all, and the rate and the bytes of those of one source."""

from collections import Counter
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from trio_p2p import RelayLimits
from trio_p2p._broker.paces import MIN_PIECE, Pace
from trio_p2p._wire.messages import RefusalCode

from .relays import Ends, open_relay, receive_all, talk_until_broken, until_over

RATE = 1_000_000


async def count_bytes(ends: Ends, counts: Counter[Ends]) -> None:
    with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
        while data := await ends.receiver.receive_some(65536):
            counts[ends] += len(data)


@pytest.mark.parametrize(
    "limits",
    [RelayLimits(total_bytes_per_second=RATE), RelayLimits(bytes_per_second_per_ip=RATE)],
    ids=["of all", "of a source"],
)
async def test_busy_circuits_share_a_rate_fairly(
    limits: RelayLimits, mock_clock: MockClock
) -> None:
    async with open_relay(limits) as (broker, receiver, first), trio.open_nursery() as nursery:
        circuits = [first, *[await broker.open(receiver) for _ in range(3)]]
        counts: Counter[Ends] = Counter()
        for ends in circuits:
            nursery.start_soon(talk_until_broken, ends.sender)
            nursery.start_soon(count_bytes, ends, counts)
        # One talks in both directions, and gets no more for it.
        nursery.start_soon(talk_until_broken, first.receiver)
        both: Counter[Ends] = Counter()
        nursery.start_soon(count_bytes, Ends(first.receiver, first.sender, b""), both)
        steps = 100
        for _ in range(steps):
            await settle()
            mock_clock.jump(0.05)
        await settle()
        counts[first] += both.total()
        nursery.cancel_scope.cancel(reason="all is measured")
        await close_all(circuits, mock_clock)
    assert 0.9 * RATE * 0.05 * steps <= counts.total() <= 1.1 * RATE * (0.05 * steps + 0.2)
    assert len(counts) == 4
    assert max(counts.values()) < 1.3 * min(counts.values())


async def close_all(circuits: list[Ends], clock: MockClock) -> None:
    """Close them, and let them notice: they may have to wait until it is their turn."""
    for ends in circuits:
        ends.close()
    with trio.CancelScope(shield=True):
        for _ in range(20):
            await settle()
            clock.jump(0.1)


async def settle() -> None:
    """Let everything pass that may at this time."""
    for _ in range(100):
        await trio.lowlevel.checkpoint()


async def test_one_that_has_said_little_waits_for_none(mock_clock: MockClock) -> None:
    limits = RelayLimits(total_bytes_per_second=RATE)
    async with open_relay(limits) as (broker, receiver, busy), trio.open_nursery() as nursery:
        quiet = await broker.open(receiver)
        nursery.start_soon(talk_until_broken, busy.sender)
        nursery.start_soon(count_bytes, busy, Counter[Ends]())
        for _ in range(20):
            await settle()
            mock_clock.jump(0.01)
        await quiet.sender.send_all(b"now")  # and the clock stands still
        assert await quiet.receiver.receive_some() == b"now"
        nursery.cancel_scope.cancel(reason="the test is over")
        await close_all([busy, quiet], mock_clock)


async def test_source_that_had_its_bytes_is_cut_and_refused_for_the_rest_of_the_hour(
    mock_clock: MockClock,
) -> None:
    limits = RelayLimits(bytes_per_ip=100_000)
    async with open_relay(limits) as (broker, _, ends), trio.open_nursery() as nursery:
        nursery.start_soon(talk_until_broken, ends.sender)
        data, refused = ends.farewell(await receive_all(ends.receiver))
        assert data == bytes(100_000)
        assert "has had 100000 bytes relayed within an hour" in refused.reason
        nursery.cancel_scope.cancel(reason="it is cut")
        await until_over(broker)
        async with await broker.connect() as sender:
            await sender.greet()
            await sender.ask("alice", "relay", number=5)
            refused = await sender.wait_refused()
            assert (refused.code, refused.number) == (RefusalCode.RELAY_REFUSED, 5)
            assert refused.retry_after is not None
            assert 3_000_000 < refused.retry_after <= 3_600_000
            mock_clock.jump(refused.retry_after / 1000)


def test_pieces_are_the_smaller_the_more_circuits_wait() -> None:
    pace = Pace(RATE)
    whole = pace.piece
    assert whole == RATE // 10
    pace.waiting = 3
    assert pace.piece == whole // 4
    pace.waiting = 10_000
    assert pace.piece == MIN_PIECE
    assert Pace(1000).piece == 100
