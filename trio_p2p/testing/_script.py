"""Events of a memory network as values, and what plays them at their times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import attrs
import trio

from ._memory_broker import MemoryBroker
from ._memory_host import MemoryHost
from ._network import MemoryNetwork
from ._places import AnyNat


class Event(Protocol):
    """Something that happens to a network."""

    async def happen(self, network: MemoryNetwork) -> None:
        """Let it happen."""
        ...


@attrs.frozen
class LosePath:
    """All packets between two hosts get lost, in silence; what a broker relays still passes.

    Attributes:
        one, other: the hosts.
    """

    one: MemoryHost
    other: MemoryHost

    async def happen(self, network: MemoryNetwork) -> None:
        """Let it happen."""
        network.lose_path(self.one, self.other)


@attrs.frozen
class RestorePath:
    """Packets between two hosts pass again.

    Attributes:
        one, other: the hosts.
    """

    one: MemoryHost
    other: MemoryHost

    async def happen(self, network: MemoryNetwork) -> None:
        """Let it happen."""
        network.restore_path(self.one, self.other)


@attrs.frozen
class MoveHost:
    """A host moves to another network, with another address.

    Attributes:
        host: the host.
        nats: what is between it and the internet then; as for :meth:`MemoryNetwork.add_host`.
    """

    host: MemoryHost
    nats: tuple[AnyNat, ...] = ()

    async def happen(self, network: MemoryNetwork) -> None:  # noqa: ARG002 - as all events
        """Let it happen."""
        self.host.move(*self.nats)


@attrs.frozen
class ForgetMappings:
    """All NATs between a host and the internet forget their mappings.

    Attributes:
        host: the host.
    """

    host: MemoryHost

    async def happen(self, network: MemoryNetwork) -> None:  # noqa: ARG002 - as all events
        """Let it happen."""
        self.host.forget_mappings()


@attrs.frozen
class RestartBroker:
    """A broker is stopped, and started again with no memory of before.

    Attributes:
        broker: the broker.
        seconds: for how long it is away.
    """

    broker: MemoryBroker
    seconds: float = 1.0

    async def happen(self, network: MemoryNetwork) -> None:  # noqa: ARG002 - as all events
        """Let it happen; takes as long as the broker is away."""
        await self.broker.stop()
        await trio.sleep(self.seconds)
        await self.broker.start()


async def play(network: MemoryNetwork, script: Iterable[tuple[float, Event]]) -> None:
    """Let events happen, each so many seconds from now.

    Args:
        network: the network.
        script: seconds and events, in any order. Each happens at its time, whether those before
            it are over or not; events of the same time in the order of the script.

    Returns when all are over. If cancelled, what has not happened yet does not happen; a broker
    that is just being restarted stays stopped.
    """
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for seconds, event in sorted(script, key=_time_of):
            await trio.sleep_until(begun + seconds)
            nursery.start_soon(event.happen, network)


def _time_of(entry: tuple[float, Event]) -> float:
    return entry[0]
