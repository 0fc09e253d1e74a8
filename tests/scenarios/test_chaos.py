"""Streams over the worst of paths: each byte arrives once and in order, or the end is honest.

Everything that peers say to each other goes through forwarders that stall, reset, end, cut short,
corrupt or swallow connections, by a schedule that a seed decides. Windows, pieces, pauses and ends
are anything.
"""

import random
from functools import partial

import attrs
import pytest
import trio

from trio_p2p import P2PError, P2PListener, P2PStream, Peer, open_peer
from trio_p2p._net.system import system_in_use
from trio_p2p._stream import leg
from trio_p2p._stream.frames import MIN_WINDOW

from ..kit.forwarder import DetouredSystem, open_forwarder
from ..kit.loopback import TECHNIQUES, open_broker, open_listener

MIB = 1 << 20
GRACE = 10.0
TIME = 120.0  # seconds until a schedule is taken to hang
AT_ONCE = 5
PATTERN = random.Random(7).randbytes(65_521) * 20


def name_of(stream: P2PStream) -> tuple[bytes, int]:
    """What both ends of a stream have in common, and no other stream."""
    return stream.connection.carrier.session.identifier, stream._state.number


def part_of_pattern(offset: int, count: int) -> bytes:
    start = offset % 65_521
    return PATTERN[start : start + count]


@attrs.define
class Direction:
    """What one side has sent, and what the other one has made of it.

    Attributes:
        sent: how many bytes were taken.
        is_complete: whether the sender has ended it well.
        received: how many bytes have come.
        has_ended: whether they ended well.
    """

    sent: int = 0
    is_complete: bool = False
    received: int = 0
    has_ended: bool = False

    def check(self) -> None:
        if self.has_ended:
            assert self.is_complete
            assert self.received == self.sent


class Schedule:
    """One pair of streams, with all that happens to it.

    Args:
        seed: decides on everything.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.path = self.chance.choice(["direct", "relay", "any"])
        self.probability = self.chance.choice([0.0, 0.3, 0.6, 0.9])
        self.most_bytes = self.chance.choice([20_000, MIB, 8 * MIB])
        self.directions = Direction(), Direction()

    def window(self) -> int:
        return self.chance.choice([MIN_WINDOW, MIB, 3 * MIB, 8 * MIB])

    async def run(self) -> None:
        chance = self.chance
        async with (
            open_broker() as broker,
            open_forwarder(broker.address, chance, self.probability, self.most_bytes) as to_broker,
            trio.open_nursery() as nursery,
        ):
            mistreated = (broker.address[0], to_broker.port)
            brokers = broker.address, mistreated
            detours = partial(DetouredSystem, brokers, nursery, chance)
            # Behind a forwarder the broker sees another endpoint, so that nothing is direct.
            address = broker.address if self.path == "direct" else mistreated
            with system_in_use(detours(self.probability, self.most_bytes)):
                async with (
                    open_listener(
                        "receiver", broker.address, window=self.window(), grace=GRACE
                    ) as listener,
                    open_peer(
                        address,
                        techniques=TECHNIQUES[self.path],
                        window=self.window(),
                        grace=GRACE,
                    ) as sender,
                ):
                    opened, accepted = await self._open_pair(sender, listener)
                    async with trio.open_nursery() as busy:
                        for stream, (mine, theirs) in (
                            (opened, self.directions),
                            (accepted, self.directions[::-1]),
                        ):
                            busy.start_soon(self._use, stream, mine, theirs)
            nursery.cancel_scope.cancel(reason="the schedule is over")
        for direction in self.directions:
            direction.check()

    async def _open_pair(
        self, sender: Peer, listener: P2PListener[P2PStream]
    ) -> tuple[P2PStream, P2PStream]:
        """Both ends of one stream; what is cut short before that is tried again."""
        while True:
            try:
                opened = await sender.open_stream("receiver")
            except P2PError:
                continue
            with trio.move_on_after(GRACE):
                while True:
                    accepted = await listener.accept()
                    if name_of(accepted) == name_of(opened):
                        return opened, accepted
                    accepted.abort()
            opened.abort()

    async def _use(self, stream: P2PStream, mine: Direction, theirs: Direction) -> None:
        total = self.chance.choice([0, 1, 1000, MIB, 4 * MIB])
        ending = self.chance.choice(["eof", "eof", "eof", "close", "abort"])
        try:
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, stream, theirs)
                await self._send(stream, mine, total)
                if ending == "eof":
                    await stream.send_eof()
                    mine.is_complete = True
                elif ending == "close":
                    mine.is_complete = True
                    nursery.cancel_scope.cancel(reason="nothing more is read")
                else:
                    stream.abort("the schedule says so")
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _send(self, stream: P2PStream, mine: Direction, total: int) -> None:
        while mine.sent < total:
            count = min(self.chance.choice([1, 1000, 65_536, 200_000, MIB]), total - mine.sent)
            await stream.send_all(part_of_pattern(mine.sent, count))
            mine.sent += count
            if not self.chance.randrange(20):
                await trio.sleep(self.chance.uniform(0, 0.02))

    async def _receive(self, stream: P2PStream, theirs: Direction) -> None:
        async for chunk in stream:
            assert chunk == part_of_pattern(theirs.received, len(chunk))
            theirs.received += len(chunk)
            if not self.chance.randrange(50):
                await trio.sleep(self.chance.uniform(0, 0.02))
        theirs.has_ended = True


async def run_schedules(seeds: range) -> None:
    """Run many schedules, some at a time."""
    places = trio.Semaphore(AT_ONCE)

    async def run_one(seed: int) -> None:
        async with places:
            with trio.move_on_after(TIME) as scope:
                await Schedule(seed).run()
            assert not scope.cancelled_caught, f"schedule {seed} hangs"

    async with trio.open_nursery() as nursery:
        for seed in seeds:
            nursery.start_soon(run_one, seed)


@pytest.fixture
def quick_to_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed soon."""
    monkeypatch.setattr(leg, "BUSY_HEARTBEAT_TIME", 0.5)
    monkeypatch.setattr(leg, "BUSY_SILENCE_TIME", 2.0)
    monkeypatch.setattr(leg, "IDLE_HEARTBEAT_TIME", 1.0)
    monkeypatch.setattr(leg, "IDLE_SILENCE_TIME", 4.0)


@pytest.mark.usefixtures("quick_to_notice")
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_each_byte_arrives_or_the_end_is_honest(count: int) -> None:
    trio.run(run_schedules, range(count))
