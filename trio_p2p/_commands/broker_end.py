"""How the broker's command ends: drained, at once, or never."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable

import trio

from .._broker.drain import drain
from .._broker.server import Broker
from .._wire.messages import Draining
from .broker_settings import BrokerSettings
from .systemd import Notifier

logger = logging.getLogger("trio_p2p.broker")


async def end_on_signals(
    signals: AsyncIterator[int],
    broker: Broker,
    settings: Callable[[], BrokerSettings],
    notifier: Notifier,
) -> None:
    """Drain a broker when the first signal comes, and end it at once with the second one.

    Args:
        signals: those that have come.
        broker: what to end.
        settings: gives the settings in effect.
        notifier: told of it.
    """
    async with trio.open_nursery() as nursery:
        is_draining = False
        async for number in signals:
            if is_draining:
                logger.info("got %s again: ending at once", signal.Signals(number).name)
                broker.end()
                nursery.cancel_scope.cancel(reason="the broker is not waited for")
            else:
                is_draining = True
                notifier.stopping()
                nursery.start_soon(_drain, broker, settings())


async def _drain(broker: Broker, settings: BrokerSettings) -> None:
    retry_after = max(1, round(1000 * settings.retry_after))
    notice = Draining(retry_after, settings.move_to)
    await drain(broker, notice, settings.drain_grace)
