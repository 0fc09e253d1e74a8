"""Tries again what a busy broker or receiver has put off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from .._errors import BusyError
from .._net.system import current_system

MIN_PAUSE = 0.1  # seconds, should the other side say less

logger = logging.getLogger("trio_p2p.sender")

T = TypeVar("T")


async def retry_while_busy(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what comes of asking; while that is refused as busy, ask again, until cancelled.

    Args:
        ask: asks once, and raises BusyError if it is put off.
    """
    while True:
        try:
            return await ask()
        except BusyError as error:
            logger.info("trying again in %g seconds: %s", error.retry_after, error)
            await trio.sleep(
                max(MIN_PAUSE, error.retry_after) * current_system().dice.uniform(1.0, 1.5)
            )
