"""Scenarios that are run again and again, cancelled at each of their steps."""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import attrs
import trio

from .loopback import held, until

PATIENCE = 60.0  # seconds until something that hangs fails its test
MIN_STEPS = 10  # that each scenario has, to see that they are counted
NEVER = 1_000_000  # steps


@attrs.define(eq=False)
class Canceller(trio.abc.Instrument):
    """Cancels a function at the k-th step of it, or of a task that it started.

    Attributes:
        steps_left: until then; none to cancel it before it begins.
        is_asleep: whether to cancel when a step is taken, and the task waits at a checkpoint. Else
            the task is about to take the step, and is cancelled at its next checkpoint.
        counts_all_new: whether the steps of all tasks count that begin meanwhile, such as those
            that work for several callers.
    """

    steps_left: int
    is_asleep: bool = False
    counts_all_new: bool = False
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    ended: trio.Event = attrs.Factory(trio.Event)
    _root: trio.lowlevel.Task | None = None
    _new: set[trio.lowlevel.Task] = attrs.Factory(set[trio.lowlevel.Task])

    @property
    def has_struck(self) -> bool:
        return self.steps_left <= 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._new.add(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.is_asleep:
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.is_asleep:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if self._is_ours(task) or (self.counts_all_new and task in self._new):
            self.steps_left -= 1
            if self.steps_left == 0:
                self._strike()

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self._root:
            nursery = ancestor.parent_nursery
            ancestor = None if nursery is None else nursery.parent_task
        return ancestor is not None

    def _strike(self) -> None:
        self.scope.cancel(reason="this is the step")

    async def run(self, party: Callable[[], Awaitable[object]]) -> None:
        self._root = trio.lowlevel.current_task()
        if self.has_struck:
            self._strike()
        trio.lowlevel.add_instrument(self)
        try:
            with self.scope:
                await party()
        finally:
            trio.lowlevel.remove_instrument(self)
            self.ended.set()


Scenario = Callable[[Canceller], Awaitable[None]]


async def at_every_step(scenario: Scenario, min_steps: int = MIN_STEPS) -> None:
    """Run a scenario, cancelled at each of its steps."""
    await run_and_check(scenario, Canceller(NEVER), held)  # whatever is made only once
    before = held()
    for step in itertools.count(1):
        canceller = Canceller(step)
        await run_and_check(scenario, canceller, lambda: before)
        if not canceller.has_struck:
            assert step > min_steps
            return


BOTH_MOMENTS = (False, True)


async def at_every_checkpoint(
    scenario: Scenario,
    holding: Callable[[], object],
    min_steps: int = 1,
    moments: Sequence[bool] = BOTH_MOMENTS,
) -> None:
    """Run a scenario, cancelled before it begins, and at each of its checkpoints.

    Args:
        scenario: the scenario.
        holding: what has to be the same after each run.
        min_steps: how many steps there are, at least.
        moments: whether to cancel it as it waits at a checkpoint, or as it goes on.
    """
    before = holding()
    for is_asleep in moments:
        for step in itertools.count(is_asleep):
            canceller = Canceller(step, is_asleep)
            await run_and_check(scenario, canceller, lambda: before, holding)
            if not canceller.has_struck:
                assert step > min_steps
                break


async def run_and_check(
    scenario: Scenario,
    canceller: Canceller,
    expected: Callable[[], object],
    holding: Callable[[], object] = held,
) -> None:
    with trio.fail_after(PATIENCE):
        await scenario(canceller)
    with suppress(trio.TooSlowError):
        await until(lambda: holding() == expected())
    assert holding() == expected()
