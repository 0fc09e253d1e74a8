"""Keeps a relayed path in reserve after a stream has moved to a direct one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from .._errors import P2PError
from .._net.network_changes import current_network
from .._stream.carrier import Carrier
from .._stream.stream_path import PathKind
from .secured import SecuredPath

# Seconds that a direct path has to prove itself. The reserve is idle meanwhile, and brokers end
# idle circuits after a minute.
RESERVE_TIME = 50.0

Open: TypeAlias = Callable[[], Awaitable[SecuredPath]]
IsSo: TypeAlias = Callable[[], bool]

logger = logging.getLogger("trio_p2p.sender")


async def keep_reserve(
    carrier: Carrier, open_relay: Open, *, is_carried: IsSo, is_wanted: IsSo
) -> None:
    """Have a way back to the relay for a while after each move to a direct path, until cancelled.

    Args:
        carrier: carries the stream.
        open_relay: opens a path through the relay.
        is_carried: whether the stream has a path that is not in doubt.
        is_wanted: whether a relayed path would be better than what the stream has.
    """
    while True:
        await _wait_moved(carrier)
        network = current_network()
        try:
            reserve = await open_relay()
        except (P2PError, OSError) as error:
            logger.info("no path is in reserve: %s", error)
            continue
        is_attached = False
        try:
            reserve.path.send_last_flight()
            with trio.move_on_after(RESERVE_TIME):
                while is_carried():
                    await carrier.path_changed.park()
            is_of_use = carrier.path is None and current_network() == network
            if is_of_use and is_wanted():
                is_attached = carrier.attach(
                    reserve.path, reserve.described, circuit=reserve.circuit
                )
        finally:
            if not is_attached:
                reserve.path.close()


async def _wait_moved(carrier: Carrier) -> None:
    """Wait until the stream has moved from the relay to a direct path."""
    before: PathKind | None = None
    while True:
        path = carrier.path
        kind = None if path is None else path.kind
        if (before, kind) == (PathKind.RELAY, PathKind.DIRECT):
            return
        before = kind
        await carrier.path_changed.park()
