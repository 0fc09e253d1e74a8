"""Many streams of one connection over the worst of paths: each is exact, or its end is honest.

Everything that peers say to each other goes through forwarders that stall, reset, end, cut short,
corrupt or swallow connections, by a schedule that a seed decides. Either side opens streams; sizes,
pieces, pauses and ends are anything.
"""

import random
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio

from trio_p2p import P2PConnection, P2PError, P2PStream, Peer, open_peer
from trio_p2p._net.system import system_in_use
from trio_p2p._stream import leg
from trio_p2p._stream.credit import DEFAULT_STREAMS, EARLY_STREAMS
from trio_p2p._stream.frames import MIN_WINDOW

from ..kit.connections import OpenedConnections, held_by, part_of
from ..kit.forwarder import DetouredSystem, open_forwarder
from ..kit.loopback import TECHNIQUES, held, open_broker, until

pytestmark = [pytest.mark.once, pytest.mark.slow]

MIB = 1 << 20
GRACE = 10.0
TIME = 120.0  # seconds until a schedule is taken to hang
AT_ONCE = 5
STREAMS = 50
# Of paths: how many of them meet with an accident, and before how many bytes.
MISTREATMENTS = [(0.8, 20_000), (0.9, 200_000), (1.0, 2 * MIB), (1.0, 8 * MIB)]
NOT_SERVED = "a protocol that no listener has"


@attrs.define
class Direction:
    """What one end of a stream has sent, and what the other one has made of it.

    Attributes:
        seed: of the bytes.
        sent: how many bytes were taken.
        is_complete: whether the sender has ended it well.
        is_confirmed: whether the sender was told that all has arrived.
        received: how many bytes have come.
        has_ended: whether they ended well.
        is_read: whether no receiver has given up before the end.
    """

    seed: int
    sent: int = 0
    is_complete: bool = False
    is_confirmed: bool = False
    received: int = 0
    has_ended: bool = False
    is_read: bool = True

    def check(self) -> None:
        if self.has_ended:
            assert self.is_complete
            assert self.received == self.sent
        if self.is_confirmed and self.is_read:
            assert self.has_ended


class Schedule:
    """One connection, with all that happens to it and to its streams.

    Args:
        seed: decides on everything.

    Attributes:
        seed: the same.
        directions: those of each stream, the opener's first.
        moves: how often another path has carried the connection.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(f"streams {seed}")
        self.path = self.chance.choice(["direct", "relay", "any"])
        self.probability, self.most_bytes = self.chance.choice(MISTREATMENTS)
        self.directions: dict[int, tuple[Direction, Direction]] = {}
        self.moves = 0
        self._users = 0

    @property
    def all_directions(self) -> list[Direction]:
        return [each for pair in self.directions.values() for each in pair]

    def options(self) -> dict[str, Any]:
        chance = self.chance
        return {
            "window": chance.choice([MIN_WINDOW, MIB, 8 * MIB]),
            "max_streams": chance.choice([EARLY_STREAMS, DEFAULT_STREAMS]),
            "grace": GRACE,
        }

    async def run(self) -> None:
        chance = self.chance
        async with (
            open_broker() as broker,
            open_forwarder(broker.address, chance, self.probability, self.most_bytes) as to_broker,
            trio.open_nursery() as nursery,
        ):
            mistreated = (broker.address[0], to_broker.port)
            # Behind a forwarder the broker sees another endpoint, so that nothing is direct.
            address = broker.address if self.path == "direct" else mistreated
            system = DetouredSystem(
                [broker.address, mistreated], nursery, chance, self.probability, self.most_bytes
            )
            tracer = OpenedConnections()
            with system_in_use(system):
                async with (
                    open_peer(broker.address, tracer=tracer, **self.options()) as receiver,
                    open_peer(
                        address, techniques=TECHNIQUES[self.path], **self.options()
                    ) as sender,
                ):
                    await self._use_peers(receiver, sender, tracer)
            nursery.cancel_scope.cancel(reason="the schedule is over")
        for direction in self.all_directions:
            direction.check()

    async def _use_peers(self, receiver: Peer, sender: Peer, tracer: OpenedConnections) -> None:
        async with receiver.listen("receiver") as listener, trio.open_nursery() as accepting:

            async def accept_from_listener() -> None:
                while True:
                    accepting.start_soon(self._use_accepted, await listener.accept())

            async def accept_from_connection() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        accepting.start_soon(self._use_accepted, await opener.accept())

            accepting.start_soon(accept_from_listener)
            opener = await self._connect(sender)
            accepting.start_soon(accept_from_connection)
            await until(lambda: opener.is_over or bool(other_ends(opener, tracer)))
            both = [opener, *other_ends(opener, tracer)]
            async with trio.open_nursery() as opening:
                for _ in range(STREAMS):
                    opening.start_soon(self._open_and_use, self.chance.choice([opener, *both]))
            await until(lambda: not (self._users or listener.statistics().waiting))
            await until(lambda: not any(map(held_by, both)))
            self.moves = opener.statistics().moves
            accepting.cancel_scope.cancel(reason="all streams are over")

    async def _connect(self, sender: Peer) -> P2PConnection:
        while True:
            with suppress(P2PError):
                return await sender.connect("receiver", accept=True)

    async def _open_and_use(self, connection: P2PConnection) -> None:
        await trio.sleep(self.chance.uniform(0, 0.3))
        is_served = self.chance.random() < 0.9
        with suppress(trio.BrokenResourceError):
            stream = await connection.open_stream(protocol="" if is_served else NOT_SERVED)
            mine, theirs = self._directions_of(stream)
            # Without a listener for it, what has arrived at the other side is dropped there.
            mine.is_read &= is_served
            await self._use(stream, mine, theirs)

    async def _use_accepted(self, stream: P2PStream) -> None:
        await self._use(stream, *reversed(self._directions_of(stream)))

    def _directions_of(self, stream: P2PStream) -> tuple[Direction, Direction]:
        number = stream._state.number
        if number not in self.directions:
            seed = 2 * len(self.directions)
            self.directions[number] = Direction(seed), Direction(seed + 1)
        return self.directions[number]

    async def _use(self, stream: P2PStream, mine: Direction, theirs: Direction) -> None:
        chance = self.chance
        total = chance.choice([0, 1, 1000, 30_000, 300_000, MIB])
        ending = chance.choice(["eof"] * 6 + ["close", "close", "abort", "cancel"])
        scope = trio.CancelScope()
        self._users += 1
        try:
            with scope:
                async with stream, trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive, stream, theirs)
                    if ending == "cancel":
                        scope.deadline = trio.current_time() + chance.uniform(0, 0.3)
                    await self._send(stream, mine, total)
                    match ending:
                        case "eof":
                            await stream.send_eof()
                            mine.is_complete = True
                        case "close":
                            mine.is_complete = True
                            nursery.cancel_scope.cancel(reason="nothing more is read")
                        case "abort":
                            stream.abort("the schedule says so")
                        case _:
                            await trio.sleep_forever()
                mine.is_confirmed = mine.is_complete
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._users -= 1

    async def _send(self, stream: P2PStream, mine: Direction, total: int) -> None:
        while mine.sent < total:
            count = min(self.chance.choice([1, 1000, 20_000, 65_536, 200_000]), total - mine.sent)
            await stream.send_all(part_of(mine.seed, mine.sent, count))
            mine.sent += count
            if not self.chance.randrange(10):
                await trio.sleep(self.chance.uniform(0, 0.02))

    async def _receive(self, stream: P2PStream, theirs: Direction) -> None:
        most = self.chance.choice([1000, 30_000, None])
        theirs.is_read = False  # if this is cancelled
        try:
            while data := await stream.receive_some(most):
                assert data == part_of(theirs.seed, theirs.received, len(data))
                theirs.received += len(data)
                if not self.chance.randrange(20):
                    await trio.sleep(self.chance.uniform(0, 0.02))
            theirs.has_ended = theirs.is_read = True
        except trio.BrokenResourceError:
            theirs.is_read = True
            raise


def other_ends(opener: P2PConnection, tracer: OpenedConnections) -> list[P2PConnection]:
    """The accepting side's end of a connection, if it has one already."""
    session = opener.carrier.session.identifier
    return [each for each in tracer.connections if each.carrier.session.identifier == session]


async def run_schedules(seeds: range) -> list[Schedule]:
    """Run many schedules, some at a time."""
    before = held()
    places = trio.Semaphore(AT_ONCE)
    schedules = [Schedule(seed) for seed in seeds]

    async def run_one(schedule: Schedule) -> None:
        async with places:
            with trio.move_on_after(TIME) as scope:
                await schedule.run()
            assert not scope.cancelled_caught, f"schedule {schedule.seed} hangs"

    async with trio.open_nursery() as nursery:
        for schedule in schedules:
            nursery.start_soon(run_one, schedule)
    await until(lambda: held() == before)
    return schedules


@pytest.fixture
def quick_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed soon, and another path is looked for at once."""
    monkeypatch.setattr(leg, "BUSY_HEARTBEAT_TIME", 0.5)
    monkeypatch.setattr(leg, "BUSY_SILENCE_TIME", 2.0)
    monkeypatch.setattr(leg, "IDLE_HEARTBEAT_TIME", 1.0)
    monkeypatch.setattr(leg, "IDLE_SILENCE_TIME", 4.0)
    monkeypatch.setattr("trio_p2p._connect.path_finder.STEADY_TIME", 0.0)


@pytest.mark.usefixtures("quick_to_go_on")
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_each_stream_is_exact_or_its_end_is_honest(count: int) -> None:
    schedules = trio.run(run_schedules, range(count))
    assert sum(schedule.moves for schedule in schedules)
    directions = [each for schedule in schedules for each in schedule.all_directions]
    assert 0 < sum(each.has_ended for each in directions) < len(directions)
