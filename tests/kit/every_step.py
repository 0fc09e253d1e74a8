"""Scenarios that are run again and again, cancelled at each of their steps."""

import itertools
from collections.abc import Awaitable, Callable

import attrs
import trio

from .loopback import held, until

PATIENCE = 60.0  # seconds until something that hangs fails its test
MIN_STEPS = 10  # that each scenario has, to see that they are counted
NEVER = 1_000_000  # steps


@attrs.define(eq=False)
class Canceller(trio.abc.Instrument):
    """Cancels a function when it, or a task that it started, is about to take the k-th step."""

    steps_left: int
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    ended: trio.Event = attrs.Factory(trio.Event)
    _root: trio.lowlevel.Task | None = None

    @property
    def has_struck(self) -> bool:
        return self.steps_left <= 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self._root:
            nursery = ancestor.parent_nursery
            ancestor = None if nursery is None else nursery.parent_task
        if ancestor is not None:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.scope.cancel(reason="this is the step")

    async def run(self, party: Callable[[], Awaitable[object]]) -> None:
        self._root = trio.lowlevel.current_task()
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


async def run_and_check(
    scenario: Scenario, canceller: Canceller, expected: Callable[[], object]
) -> None:
    with trio.fail_after(PATIENCE):
        await scenario(canceller)
    await until(lambda: held() == expected())
