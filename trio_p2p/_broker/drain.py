"""Ends a broker without breaking what its clients are about."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from .._wire.messages import Draining
from .circuit import FAREWELL_TIME
from .link import FAREWELL_TIME as READING_TIME

if TYPE_CHECKING:
    from .server import Broker

LOOK_TIME = 0.1  # seconds between two looks at what is under way

logger = logging.getLogger("trio_p2p.broker")


async def drain(broker: Broker, notice: Draining, grace: float) -> None:
    """End a broker when what it has begun is done, or the grace is over.

    New clients are accepted only while introductions are under way that need a connection from the
    receiver. Circuits go on; those that are left in the end are cut, and their peers told.

    If the notice names other brokers, this one also waits until its clients have left for them.

    Args:
        broker: what to end. Its :meth:`Broker.serve_listeners` returns afterwards.
        notice: what to tell the clients.
        grace: for how many seconds to wait at most.
    """
    logger.info(
        "draining for up to %g seconds: %d receivers, %d circuits",
        grace,
        len(broker.registry.uids),
        broker.registry.circuits,
    )
    broker.begin_farewell(notice)
    with trio.move_on_after(grace):
        await _wait_until_done(broker, waits_for_clients=bool(notice.brokers))
    if broker.registry.circuits:
        logger.info("%d circuits are cut, as the grace is over", broker.registry.circuits)
    broker.cut_circuits("the broker was stopped")
    with trio.move_on_after(max(FAREWELL_TIME, READING_TIME)):
        await broker.wait_written()
        while broker.carrying:  # noqa: ASYNC110 - a look now and then is all it takes
            await trio.sleep(LOOK_TIME)
    broker.end()
    logger.info("drained")


async def _wait_until_done(broker: Broker, *, waits_for_clients: bool) -> None:
    while broker.registry.pending_introductions:  # noqa: ASYNC110 - the same
        await trio.sleep(LOOK_TIME)
    broker.stop_accepting()
    while True:
        is_left = not (waits_for_clients and broker.controls)
        is_carried = not (broker.registry.circuits or broker.carrying)
        if is_left and is_carried and broker.registry.is_settled(trio.current_time()):
            return
        await trio.sleep(LOOK_TIME)
