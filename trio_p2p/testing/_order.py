"""Lets Trio's scheduler keep an order that depends on a seed only."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from random import Random
from typing import Any, cast

import trio


@contextmanager
def seeded_scheduling(seed: int) -> Generator[None]:
    """Have tasks that are ready at the same time run in an order that depends on a seed.

    Otherwise Trio shuffles them, so that programs do not rely on an order. This uses the hook that
    Trio has for Hypothesis, which is no part of its public interface.

    Args:
        seed: of the order.
    """
    run = cast("Any", trio.lowlevel.current_task).__globals__
    before, shuffled_by = run["_ALLOW_DETERMINISTIC_SCHEDULING"], run["_r"]
    run["_ALLOW_DETERMINISTIC_SCHEDULING"], run["_r"] = True, Random(seed)
    try:
        yield
    finally:
        run["_ALLOW_DETERMINISTIC_SCHEDULING"], run["_r"] = before, shuffled_by
