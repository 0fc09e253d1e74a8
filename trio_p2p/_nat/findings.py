"""All that a full survey of a network finds, and what follows from it. Pure."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from itertools import zip_longest

import attrs

from .._addresses import Endpoint, IPAddress, is_public
from .._wire.offer import Behaviour, Nat


@attrs.frozen
class RouterOffer:
    """What the router says in one of the protocols that map ports.

    Attributes:
        protocol: its name.
        external: the address that the router claims to have outside; None if it did not say.
        failure: why it did not; None if it did.
    """

    protocol: str
    external: IPAddress | None = None
    failure: str | None = None


@attrs.frozen
class IPv6Findings:
    """How this host is connected by IPv6.

    Attributes:
        address: the global IPv6 address that this host sends from; None if it has none.
        broker: the broker's IPv6 endpoint; None if it has none.
        is_reached: whether the broker was reached there; None if it has no such endpoint.
        filtering: which hosts get in, to a port that has sent to another one; None if not known.
    """

    address: IPAddress | None = None
    broker: Endpoint | None = None
    is_reached: bool | None = None
    filtering: Behaviour | None = None


class StationKind(enum.StrEnum):
    """What a packet meets on its way to the broker."""

    HOST = "this host"
    ROUTER = "router"
    NAT = "NAT"
    FIREWALL = "firewall"
    INTERNET = "internet"
    BROKER = "broker"


@attrs.frozen
class Station:
    """One thing that a packet meets on its way.

    Attributes:
        kind: what stands there.
        address: its inner one; of the internet, the one that this host has there. None if it does
            not show.
    """

    kind: StationKind
    address: IPAddress | None


@attrs.frozen
class Survey:
    """What was found out about the network that this host is in. None: not known.

    Attributes:
        broker: where the broker was reached.
        local: this host's address towards the broker.
        reflexive: this host's address as the broker sees it.
        nat: what the NATs do.
        hairpins: whether hosts behind them reach each other by their reflexive endpoints.
        hops: the routers on the way, nearest first, None for a silent one.
        ipv6: what was found out about IPv6.
        router: what the router says about mapping ports; None if it was not asked.
    """

    broker: Endpoint
    local: IPAddress | None = None
    reflexive: IPAddress | None = None
    nat: Nat = attrs.field(factory=Nat)
    hairpins: bool | None = None
    hops: tuple[IPAddress | None, ...] = ()
    ipv6: IPv6Findings = attrs.field(factory=IPv6Findings)
    router: tuple[RouterOffer, ...] | None = None

    @property
    def is_translated(self) -> bool | None:
        """Whether there is a NAT."""
        return None if self.reflexive is None else self.local != self.reflexive

    @property
    def is_firewalled(self) -> bool:
        """Whether there is a firewall without a NAT."""
        return self.is_translated is False and self.nat.filtering not in (
            None,
            Behaviour.ENDPOINT_INDEPENDENT,
        )

    @property
    def way(self) -> tuple[Station, ...]:
        """What is between this host and the broker, both included."""
        stations = [Station(StationKind.HOST, self.local)]
        if self.is_translated:
            assert self.local is not None
            stations += nats_on_the_way(self.local, self.hops)
        elif self.is_firewalled:
            stations.append(Station(StationKind.FIREWALL, None))
        stations.append(Station(StationKind.INTERNET, self.reflexive))
        return (*stations, Station(StationKind.BROKER, self.broker.address))

    @property
    def layers(self) -> int | None:
        """How many NATs are on the way, as far as that shows; there may be more."""
        if self.is_translated is None:
            return None
        return sum(station.kind is StationKind.NAT for station in self.way)

    @property
    def mapped_externally(self) -> IPAddress | None:
        """The internet's address of a port that the router is asked to map, if it is one."""
        for offer in self.router or ():
            if offer.external is not None and is_public(offer.external):
                return offer.external
        return None


def nats_on_the_way(local: IPAddress, hops: Sequence[IPAddress | None]) -> list[Station]:
    """The routers on a way that has a NAT, up to the last NAT that shows.

    A NAT separates two networks. Routers report from addresses of the network that the packet came
    from, so the last one before another network, or before the internet, is a NAT.

    Args:
        local: this host's address.
        hops: the routers on the way, nearest first, None for a silent one.
    """
    inside = [hop for hop in hops if hop is not None and not is_public(hop)]
    if not inside:
        return [Station(StationKind.NAT, None)]
    stations: list[Station] = []
    if _network_of(inside[0]) != _network_of(local):
        stations.append(Station(StationKind.NAT, None))  # its inner side does not show
    for hop, following in zip_longest(inside, inside[1:]):
        is_last = following is None or _network_of(following) != _network_of(hop)
        stations.append(Station(StationKind.NAT if is_last else StationKind.ROUTER, hop))
    return stations


def _network_of(address: IPAddress) -> object:
    """What tells one private network from another.

    Within 10.0.0.0/8 and its like a company may route. A home does not: two networks of
    192.168.0.0/16 in a row are behind one router each.
    """
    if address.version == 4 and address in _HOMES:
        return ipaddress.ip_network((address, 24), strict=False)
    return next((each for each in _LARGE if address in each), address)


_HOMES = ipaddress.ip_network("192.168.0.0/16")
_LARGE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7")
)
