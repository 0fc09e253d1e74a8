"""Where NATs and hosts stand in a memory network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final, TypeAlias

import attrs
import trio

from ._agenda import Agenda
from ._internet.behaviour import NatBehaviour
from ._internet.internet import Internet
from ._internet.kinds import KINDS
from ._internet.packets import Packet
from ._internet.realms import Device, Gateway, Place

# Seconds that packets take within a home.
LOCAL_LATENCY: Final = 0.0005
# Addresses for benchmarks (RFC 2544) stand for public ones, so that no packet could harm anyone.
_PUBLIC: Final = IPv4Network("198.18.0.0/15")
_PRIVATE: Final = IPv4Network("10.0.0.0/8")
_PREFIX: Final = 24


@attrs.frozen(eq=False)
class MemoryNat:
    """A NAT of a memory network, for hosts and more NATs to stand behind.

    Attributes:
        behaviour: what it does.
        address: its address outside.
        behind: the next NAT on the way to the internet; None if there is none.
    """

    behaviour: NatBehaviour
    address: IPv4Address
    behind: MemoryNat | None
    gateway: Gateway = attrs.field(repr=False)
    free_addresses: Iterator[IPv4Address] = attrs.field(repr=False)

    def forget(self) -> None:
        """Lose all mappings, as a NAT does that is restarted."""
        self.gateway.nat.forget()


@attrs.frozen
class Spot:
    """Where a host is connected.

    Attributes:
        device: what it is connected by.
        addresses: its addresses.
        nat: the NAT that it is behind.
    """

    device: Device
    addresses: tuple[IPv4Address, ...]
    nat: MemoryNat | None

    @property
    def nats(self) -> tuple[MemoryNat, ...]:
        """The NATs between the host and the internet, the innermost first."""
        return tuple(_outwards(self.nat))

    @property
    def public_address(self) -> IPv4Address:
        """Where the internet sees the host."""
        return self.nats[-1].address if self.nat is not None else self.addresses[0]


AnyNat: TypeAlias = NatBehaviour | str | MemoryNat | None


class Map:
    """Gives places to NATs and hosts, and finds the way between two of them.

    Args:
        seed: of all that is random.
        agenda: what calls functions at their time.
        latency: seconds that packets take between a NAT or host on the internet and its middle.
    """

    def __init__(self, seed: str, agenda: Agenda, latency: float) -> None:
        self._free = _PUBLIC.hosts()
        self._networks = _PRIVATE.subnets(new_prefix=_PREFIX)
        next(self._networks)  # 10.0.0.0/24 is too often real
        self._latency = latency
        self.internet: Internet = Internet(
            next(self._free), seed, trio.current_time, agenda.call_at
        )

    def add_nats(self, nats: Sequence[AnyNat]) -> MemoryNat | None:
        """Add a chain of NATs, given the innermost first; that one, None if there is none.

        Raises:
            ValueError: there is no NAT of some name, or a NAT that is there already is not last.
        """
        behind: MemoryNat | None = None
        for nat in reversed(nats):
            if isinstance(nat, MemoryNat):
                if behind is not None:
                    raise ValueError("a NAT that is there already can only be the last one")
                behind = nat
            elif nat is not None:
                behaviour = _behaviour_of(nat)
                behind = behind if behaviour is None else self._add_nat(behaviour, behind)
        return behind

    def _add_nat(self, behaviour: NatBehaviour, behind: MemoryNat | None) -> MemoryNat:
        network = next(self._networks)
        inside = iter(network.hosts())
        address = self._free_address(behind)
        own = IPv4Interface((next(inside), _PREFIX))
        outer = None if behind is None else behind.gateway
        gateway = self.internet.add_gateway(behaviour, address, own, outer)
        self._set_latency(gateway, behind)
        return MemoryNat(behaviour, address, behind, gateway, inside)

    def connect(
        self, take: Callable[[Packet], object], behind: MemoryNat | None, count: int
    ) -> Spot:
        """Connect a host to the internet, or behind a NAT, with so many addresses."""
        addresses = tuple(self._free_address(behind) for _ in range(count))
        outer = None if behind is None else behind.gateway
        device = self.internet.add_device(take, addresses, outer)
        self._set_latency(device, behind)
        return Spot(device, addresses, behind)

    def disconnect(self, spot: Spot) -> None:
        """Disconnect a host: what is under way to it is lost."""
        self.internet.remove(spot.device)

    def parting(self, one: Spot, other: Spot) -> tuple[Place, Place]:
        """The places of two hosts in the innermost realm that both are in, or behind."""
        ways = [[spot.device, *(nat.gateway for nat in spot.nats)] for spot in (one, other)]
        for here, there in zip(*map(reversed, ways), strict=False):
            if here is not there:
                return here, there
        raise ValueError("there is no path from a host to itself")

    def _free_address(self, behind: MemoryNat | None) -> IPv4Address:
        return next(self._free if behind is None else behind.free_addresses)

    def _set_latency(self, place: Place, behind: MemoryNat | None) -> None:
        self.internet.set_latency(place, self._latency if behind is None else LOCAL_LATENCY)


def _outwards(nat: MemoryNat | None) -> Iterator[MemoryNat]:
    while nat is not None:
        yield nat
        nat = nat.behind


def _behaviour_of(nat: NatBehaviour | str) -> NatBehaviour | None:
    if isinstance(nat, NatBehaviour):
        return nat
    try:
        return KINDS[nat]
    except KeyError:
        raise ValueError(f"no NAT is called {nat!r}: use one of {', '.join(KINDS)}") from None
