"""How a peer leaves a broker that goes away: what carries on until another connection does."""

from __future__ import annotations

import attrs
import trio

from .._errors import BrokerLostError, P2PError
from .._net.backoff import Backoff
from .._net.network_changes import Network
from .._net.system import current_system
from .._wire.messages import Draining

# Seconds to stay away at most from a broker that is being started again, whatever it says.
MAX_AWAY_TIME = 60.0
# Seconds that a connection is kept after it has given way: peers may be about to use its port.
LINGER_TIME = 5.0


class HandedOverError(BrokerLostError):
    """A connection to the broker has given way to another one."""


@attrs.define(eq=False)
class Turn:
    """One connection's turn.

    Attributes:
        over: set when another connection may be made.
        error: why this one is lost, or could not be made.
        draining: what its broker has said when it was going away; None if it is lost.
        is_sent_on: whether that broker has named another one, where this host may look for it.
        goes_home: whether it has given way because a better broker is there again.
    """

    over: trio.Event = attrs.field(factory=trio.Event)
    error: P2PError = attrs.field(
        factory=lambda: P2PError("the connection to the broker has failed: see the log")
    )
    draining: Draining | None = None
    is_sent_on: bool = False
    goes_home: bool = False


async def stay_away(notice: Draining, network: Network, at_least: float) -> None:
    """Pause as a broker has asked for that is going to be started again.

    Args:
        notice: what it has said. All its clients were told the same, so each adds a part to that.
        network: where this host was; in another one there is no pause.
        at_least: how many seconds to pause at least: a broker may say that again and again.
    """
    seconds = max(min(notice.retry_after / 1000, MAX_AWAY_TIME), at_least)
    await Backoff(seconds, seconds, random=_at_least_once).rest(network)


async def wait_useless(ended: trio.Event, retired: trio.Event) -> None:
    """Wait until a connection is lost, or has given way to another one for long enough."""

    async def linger() -> None:
        await retired.wait()
        await trio.sleep(LINGER_TIME)
        nursery.cancel_scope.cancel(reason="it has given way to another one")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(linger)
        await ended.wait()
        nursery.cancel_scope.cancel(reason="it is lost")


def _at_least_once() -> float:
    """A random number from 0.5 to 1, with which a :class:`.Backoff` makes no pause shorter."""
    return 0.5 + current_system().dice.random() / 2
