"""When searches for paths begin: after pauses that grow, and sometimes at once."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from trio_p2p import P2PError, Tracer
from trio_p2p._connect.path_finder import HEAD_START, STEADY_TIME, WATCHING_DELAY, PathFinder
from trio_p2p._connect.secured import SecuredPath
from trio_p2p._control.watches import Registrations
from trio_p2p._net.backoff import MAX_AWAITED_PAUSE, MAX_PAUSE, MIN_PAUSE, Backoff
from trio_p2p._stream.path_worker import PathSilentError
from trio_p2p._stream.stream_path import PathKind


class FakeCarrier:
    """What a path finder sees of a carrier, without a session or a connection."""

    def __init__(self) -> None:
        self.session = SimpleNamespace(is_over=False, peer_is_closed=False, transferred=0)
        self.path: Any = None
        self.is_doubted = False
        self.loss: P2PError | None = None
        self.path_changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        await trio.sleep_forever()

    def attach(self, _: object, described: object, *, circuit: bytes) -> bool:
        assert not circuit
        self.path, self.is_doubted = described, False
        self.path_changed.unpark_all()
        return True

    def doubt(self) -> None:
        self.is_doubted = self.path is not None
        self.path_changed.unpark_all()

    def lose(self, loss: P2PError | None = None) -> None:
        self.path, self.loss = None, loss
        self.path_changed.unpark_all()


@attrs.frozen
class Finding:
    """A path finder under way, none of whose searches finds anything at first.

    Attributes:
        carrier: what it finds paths for.
        registrations: where to note that the peer has registered again.
        searches: when each search for a direct path began, in seconds from the start.
        finds: the kinds of paths that a search finds.
        began_at: when it was started.
        mistakes: when the watch of the registrations has failed.
        watch_fails: set it to make that fail.
        found_again: unpark it when the broker is there again.
    """

    carrier: FakeCarrier = attrs.field(factory=FakeCarrier)
    registrations: Registrations = attrs.field(factory=Registrations)
    searches: list[float] = attrs.field(factory=list)
    finds: set[PathKind] = attrs.field(factory=set)
    began_at: float = attrs.field(factory=trio.current_time)
    mistakes: list[float] = attrs.field(factory=list)
    watch_fails: trio.Event = attrs.field(factory=trio.Event)
    found_again: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def now(self) -> float:
        return trio.current_time() - self.began_at

    @contextmanager
    def watching(self, _: str) -> Generator[Registrations]:
        if self.watch_fails.is_set():
            self.mistakes.append(self.now())
            raise ZeroDivisionError("a mistake")
        yield self.registrations

    async def search(self, kind: PathKind, *_: object) -> SecuredPath:
        if kind is PathKind.DIRECT:
            self.searches.append(self.now())
        await trio.lowlevel.checkpoint()
        if kind not in self.finds:
            raise P2PError("no way")
        path = SimpleNamespace(kind=kind, close=lambda: None)
        return cast(
            "SecuredPath", SimpleNamespace(path=path, described=path, circuit=b"", peer_id=None)
        )


@asynccontextmanager
async def open_finding(*kinds: PathKind) -> AsyncGenerator[Finding]:
    """A path finder for kinds of paths, whose pauses are as long as planned."""
    finding = Finding()
    controls: Any = SimpleNamespace(
        options=SimpleNamespace(tracer=Tracer()),
        watching=finding.watching,
        wait_found_again=finding.found_again.park,
    )
    carrier, context = cast("Any", finding.carrier), cast("Any", None)
    dialers = cast("Any", {kind: kind for kind in kinds})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trio_p2p._connect.path_finder.open_secured", finding.search)
        even = partial(Backoff, random=lambda: 0.5)
        patch.setattr("trio_p2p._connect.path_finder.Backoff", even)
        pool: Any = SimpleNamespace(is_only=lambda *_: True)
        finder = PathFinder(
            carrier, context, None, dialers, uid="receiver", controls=controls, pool=pool
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finder.run)
            yield finding
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_pauses_grow_to_a_few_seconds_without_a_path(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_finding(PathKind.DIRECT) as finding:
        await trio.sleep(60.0)
    pauses = [later - earlier for earlier, later in pairwise(finding.searches)]
    planned = [min(MIN_PAUSE * 2**number, MAX_AWAITED_PAUSE) for number in range(len(pauses))]
    assert finding.searches[0] == 0.0
    assert pauses == pytest.approx(planned)


async def test_pauses_grow_further_beside_the_relay(autojump_clock: trio.testing.MockClock) -> None:
    async with open_finding(*PathKind) as finding:
        finding.finds.add(PathKind.RELAY)
        await trio.sleep(600.0)
    pauses = [later - earlier for earlier, later in pairwise(finding.searches)]
    planned = [min(MIN_PAUSE * 2**number, MAX_PAUSE) for number in range(len(pauses))]
    assert pauses == pytest.approx(planned)


@pytest.mark.parametrize("lasts", [True, False])
async def test_path_that_has_lasted_is_replaced_at_once(
    lasts: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_finding(PathKind.DIRECT) as finding:
        finding.finds.add(PathKind.DIRECT)
        await trio.sleep(STEADY_TIME + 0.1 if lasts else STEADY_TIME - 0.1)
        lost_at = finding.now()
        finding.carrier.lose()
        await trio.sleep(MAX_PAUSE)
    assert finding.searches == pytest.approx([0.0, lost_at if lasts else lost_at + MIN_PAUSE])


async def test_loss_of_the_path_cuts_the_pause_short(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_finding(*PathKind) as finding:
        finding.finds.add(PathKind.RELAY)
        await trio.sleep(600.0)
        finding.finds.clear()
        finding.carrier.lose()
        lost_at = finding.now()
        assert finding.searches[-1] < lost_at
        await trio.testing.wait_all_tasks_blocked()
        assert finding.searches[-1] == lost_at


@pytest.mark.parametrize("news", ["registration", "broker"])
async def test_news_cut_the_pause_short(autojump_clock: trio.testing.MockClock, news: str) -> None:
    async with open_finding(PathKind.DIRECT) as finding:
        finding.finds.add(PathKind.DIRECT)
        await trio.sleep(STEADY_TIME)
        finding.finds.clear()
        finding.carrier.lose()
        await trio.sleep(60.0)
        if news == "registration":
            finding.registrations.note()
        else:
            finding.found_again.unpark_all()
        told_at = finding.now()
        assert finding.searches[-1] < told_at
        await trio.testing.wait_all_tasks_blocked()
        assert finding.searches[-1] == told_at


async def test_direct_path_that_fell_silent_gives_the_relay_a_head_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_finding(*PathKind) as finding:
        finding.finds.add(PathKind.DIRECT)
        await trio.sleep(STEADY_TIME)
        lost_at = finding.now()
        finding.carrier.lose(PathSilentError("silence"))
        await trio.sleep(HEAD_START + 0.1)
    assert finding.searches[-1] == pytest.approx(lost_at + HEAD_START)


async def test_task_that_fails_again_and_again_begins_anew_after_longer_and_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_finding(PathKind.DIRECT) as finding:
        finding.finds.add(PathKind.DIRECT)
        finding.watch_fails.set()
        await trio.sleep(600.0)
    pauses = [later - earlier for earlier, later in pairwise(finding.mistakes)]
    planned = [min(MIN_PAUSE * 2**number, MAX_PAUSE) for number in range(len(pauses))]
    assert pauses == pytest.approx([pause + WATCHING_DELAY for pause in planned])
