"""A network in memory: brokers and peers behind NATs, and no socket."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from random import Random
from typing import Any, Final

import trio

from .._addresses import Endpoint
from .._net.nursery import open_background_nursery
from .._net.system import system_in_use
from ._agenda import Agenda
from ._host.system import Nowhere
from ._internet.ways import Way
from ._memory_broker import MemoryBroker
from ._memory_host import MemoryHost, OnPacket
from ._places import AnyNat, Map, MemoryNat

LATENCY: Final = 0.01  # seconds: so a round trip between two hosts takes 40 ms
PROBE_PORT: Final = 7001


class MemoryNetwork:
    """A network in memory; :func:`open_memory_network` opens one.

    Everything happens by Trio's clock, which may be a :class:`trio.testing.MockClock`.
    """

    def __init__(
        self, seed: int, latency: float, on_packet: OnPacket | None, nursery: trio.Nursery
    ) -> None:
        self._seed = seed
        self._on_packet = on_packet
        self._nursery = nursery
        self._agenda = Agenda()
        self._map = Map(str(seed), self._agenda, latency)
        self._hosts: dict[str, MemoryHost] = {}
        nursery.start_soon(self._agenda.run)

    def add_nat(self, *nats: AnyNat) -> MemoryNat:
        """Add a NAT that several hosts, or other NATs, may be behind.

        Args:
            nats: the NAT, by behaviour or by a name of :data:`NATS`, and those that it is behind
                itself, the innermost first.

        Raises:
            ValueError: there is no NAT of that name, or none is given.
        """
        nat = self._map.add_nats(nats)
        if nat is None:
            raise ValueError("no NAT is given: say how it behaves, by a name of NATS perhaps")
        return nat

    def add_host(self, *nats: AnyNat, name: str = "", addresses: int = 1) -> MemoryHost:
        """Add a host, which is behind NATs or on the internet itself.

        Args:
            nats: what is between the host and the internet, innermost first: NATs of its own, by
                behaviour or by a name of :data:`NATS`, and in the last place perhaps a
                :class:`MemoryNat` that others are behind, too. None is no NAT.
            name: by which other hosts find it; ``"host-1"`` and so on if empty.
            addresses: how many addresses it has.

        Raises:
            ValueError: there is a host of this name, or no NAT of one.
        """
        name = name or f"host-{len(self._hosts) + 1}"
        if name in self._hosts:
            raise ValueError(f"there is a host {name!r} already: give this one another name")
        dice = Random(f"{self._seed} {name}")
        host = MemoryHost(
            name,
            place=self._map,
            agenda=self._agenda,
            random=dice,
            find_name=self._address_of,
            on_packet=self._on_packet,
        )
        host.connect(self._map.add_nats(nats), addresses)
        self._hosts[name] = host
        return host

    async def start_broker(self, *, name: str = "broker", **options: Any) -> MemoryBroker:
        """Start a broker on a new host of the internet, as long as the network is open.

        Args:
            name: the host's.
            options: as for :func:`trio_p2p.serve_broker`. Without, peers can find out all about
                their NATs by it: it has a second port, and a second address.
        """
        host = self.add_host(name=name, addresses=2)
        elsewhere = Endpoint(host.addresses[1], PROBE_PORT)
        options = {"probe_port": PROBE_PORT, "probe_at": [elsewhere], **options}
        broker = MemoryBroker(host, self._nursery, options)
        await broker.start()
        return broker

    def set_round_trip(self, one: MemoryHost, other: MemoryHost, seconds: float) -> None:
        """Set how long packets take between two hosts, there and back.

        All hosts behind the same outermost NAT are equally far from those that are not.
        """
        _check_seconds("a round trip", seconds)
        for way in self._ways(one, other):
            way.delay = seconds / 2

    def set_jitter(self, one: MemoryHost, other: MemoryHost, seconds: float) -> None:
        """Set how much longer packets take one way between two hosts, at most."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"jitter cannot be {seconds!r}: give seconds, 0 or more")
        for way in self._ways(one, other):
            way.jitter = seconds

    def set_loss(self, one: MemoryHost, other: MemoryHost, probability: float) -> None:
        """Set how many packets between two hosts get lost, from 0 for none to 1 for all."""
        if not 0 <= probability <= 1:
            raise ValueError(f"no probability: {probability!r}; give a number from 0 to 1")
        self._map.internet.set_loss(self._map.parting(one.spot, other.spot), probability)

    def lose_path(self, one: MemoryHost, other: MemoryHost) -> None:
        """Lose all packets between two hosts, in silence; what a broker relays still passes."""
        self.set_loss(one, other, 1.0)

    def restore_path(self, one: MemoryHost, other: MemoryHost) -> None:
        """Let packets between two hosts pass again."""
        self.set_loss(one, other, 0.0)

    def _ways(self, one: MemoryHost, other: MemoryHost) -> tuple[Way, Way]:
        here, there = self._map.parting(one.spot, other.spot)
        internet = self._map.internet
        return internet.way(here, there), internet.way(there, here)

    def _address_of(self, name: str) -> IPv4Address:
        return self._hosts[name].address


@asynccontextmanager
async def open_memory_network(
    *, seed: int = 0, latency: float = LATENCY, on_packet: OnPacket | None = None
) -> AsyncGenerator[MemoryNetwork]:
    """Have a network in memory, for a test of an application.

    Use as an async context manager, under a :class:`trio.testing.MockClock` with autojump if the
    test is not to take the time that a network takes. On leaving it the brokers are stopped.

    Args:
        seed: of what is random in the network: ports, sequence numbers, losses, jitter.
        latency: for how many seconds packets are under way between a NAT or host on the internet
            and its middle: a quarter of a round trip.
        on_packet: called with each :class:`PacketSeen` that leaves a host or arrives at one;
            ``print`` does.

    Yields:
        The :class:`MemoryNetwork`. What runs in the block, and on none of its hosts, has no
        network at all.

    Raises:
        ValueError: the latency is none.
    """
    _check_seconds("latency", latency)
    async with open_background_nursery() as nursery:
        with system_in_use(Nowhere()):
            yield MemoryNetwork(seed, latency, on_packet, nursery)


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} cannot be {seconds!r}: give seconds, more than 0")
