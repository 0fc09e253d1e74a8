"""The internet, which is one hop, and the realms behind NATs, which are none themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from random import Random

from .behaviour import NatBehaviour
from .nat import Nat
from .packets import NETWORK_UNREACHABLE, TIME_EXCEEDED, IcmpError, Packet
from .realms import Device, Gateway, Place, Realm
from .sessions import Side
from .ways import Way


class Internet:
    """Passes packets on between places.

    Args:
        address: where what dies on the internet is reported from.
        seed: of all that is random; for each way it depends on nothing else.
        clock: tells the time, in seconds.
        call_at: has a function called at a time.
    """

    def __init__(
        self,
        address: IPv4Address,
        seed: str,
        clock: Callable[[], float],
        call_at: Callable[[float, Callable[[], object]], object],
    ) -> None:
        self._address = address.packed
        self._seed = seed
        self._clock = clock
        self._call_at = call_at
        self._realm = Realm()
        self._count = 0
        self._ways: dict[tuple[Place, Place], Way] = {}
        self._latencies: dict[Place, float] = {}
        self._losses: dict[frozenset[Place], float] = {}
        self._now = 0.0  # when what is being handled arrived

    # Places

    def add_device(
        self,
        take: Callable[[Packet], object],
        addresses: Iterable[IPv4Address],
        behind: Gateway | None = None,
    ) -> Device:
        """Connect a host.

        Args:
            take: called with each packet that arrives for it.
            addresses: the addresses that lead to it.
            behind: the NAT that it is behind; None if it is on the internet.
        """
        device = Device(self._count, self._realm_behind(behind), take)
        self._add(device, addresses)
        return device

    def add_gateway(
        self,
        behaviour: NatBehaviour,
        address: IPv4Address,
        inside: IPv4Interface,
        behind: Gateway | None = None,
    ) -> Gateway:
        """Add a NAT, and the realm behind it.

        Args:
            behaviour: what it does.
            address: its address outside.
            inside: its address inside, with the network that it translates.
            behind: the next NAT on the way to the internet.
        """
        nat = Nat(
            behaviour,
            inside=inside.packed,
            outside=address.packed,
            random=Random(f"{self._seed} {self._count}"),
        )
        gateway = Gateway(self._count, self._realm_behind(behind), nat, inside)
        self._add(gateway, [address])
        return gateway

    def remove(self, place: Place) -> None:
        """Disconnect a place: what is still under way to it is lost."""
        routes = place.realm.routes
        for address in [each for each, other in routes.items() if other is place]:
            del routes[address]
        self._latencies.pop(place, None)
        for ends in [each for each in self._ways if place in each]:
            del self._ways[ends]
        for at in [each for each in self._losses if place in each]:
            del self._losses[at]

    def _add(self, place: Place, addresses: Iterable[IPv4Address]) -> None:
        self._count += 1
        for address in addresses:
            place.realm.routes[address.packed] = place

    def _realm_behind(self, gateway: Gateway | None) -> Realm:
        return self._realm if gateway is None else gateway.inside

    # Ways

    def way(self, origin: Place, target: Place) -> Way:
        """What happens to packets from one place of a realm to another."""
        way = self._ways.get((origin, target))
        if way is None:
            way = Way(f"{self._seed} {origin.number} {target.number}")
            way.delay = sum(
                self._latencies.get(place, 0.0)
                for place, other in ((origin, target), (target, origin))
                if other.realm.gateway is not place  # which is in the middle of its own realm
            )
            way.loss = self._loss(origin, target)
            self._ways[origin, target] = way
        return way

    def set_latency(self, place: Place, seconds: float) -> None:
        """Set how long packets take between a place and the middle of its realm.

        Ways that exist already keep their delay.
        """
        self._latencies[place] = seconds

    def set_loss(self, places: Iterable[Place], probability: float) -> None:
        """Set how many packets get lost between two places, or between one and all others."""
        self._losses[frozenset(places)] = probability
        for (origin, target), way in self._ways.items():
            way.loss = self._loss(origin, target)

    def _loss(self, origin: Place, target: Place) -> float:
        causes = {frozenset([origin]), frozenset([target]), frozenset([origin, target])}
        return 1 - math.prod(1 - self._losses.get(cause, 0.0) for cause in causes)

    # Packets

    def send(self, device: Device, packet: Packet) -> None:
        """Take a packet that a host sends."""
        self._now = self._clock()
        self._forward(device.realm, device, packet)

    def _forward(self, realm: Realm, origin: Place, packet: Packet) -> None:
        """Pass on what comes from a place in a realm."""
        target = realm.routes.get(packet.destination.address)
        if realm.gateway is None:
            self._forward_over_internet(origin, target, packet)
        elif target is not None:
            self._send(origin, target, target, packet)
        elif (
            realm.gateway.takes(packet.destination.address)
            and self.way(origin, realm.gateway).due(self._now) is not None  # it takes no time
        ):
            self._pass_through(realm.gateway, Side.INSIDE, origin, packet)

    def _forward_over_internet(self, origin: Place, target: Place | None, packet: Packet) -> None:
        if target is None:
            self._report(packet, NETWORK_UNREACHABLE, origin, origin)
        elif packet.ttl <= 1:
            self._report(packet, TIME_EXCEEDED, origin, target)
        else:
            packet.decrement_ttl()
            self._send(origin, target, target, packet)

    def _report(self, packet: Packet, error: IcmpError, origin: Place, target: Place) -> None:
        report = packet.report(error, self._address)
        # Only to an address that we lead to.
        if report is not None and packet.source.address in self._realm.routes:
            # We sit in the middle: half of the way here, and half of it back.
            self._send(origin, target, origin, report)

    def _send(self, origin: Place, target: Place, recipient: Place, packet: Packet) -> None:
        """Let the recipient have a packet after as long as the way to the target takes."""
        due = self.way(origin, target).due(self._now)
        if due is None:
            return
        if due <= self._now:
            self._deliver(recipient, packet)
            return
        self._call_at(due, partial(self._arrive, recipient, packet))

    def _arrive(self, recipient: Place, packet: Packet) -> None:
        self._now = self._clock()
        self._deliver(recipient, packet)

    def _deliver(self, recipient: Place, packet: Packet) -> None:
        if isinstance(recipient, Gateway):
            self._pass_through(recipient, Side.OUTSIDE, recipient, packet)
        elif isinstance(recipient, Device):
            recipient.take(packet)

    def _pass_through(self, gateway: Gateway, side: Side, origin: Place, packet: Packet) -> None:
        outcome = gateway.nat.handle(side, packet, self._now)
        if outcome is None:
            return
        leads_to, outgoing = outcome
        if leads_to is Side.OUTSIDE:
            self._forward(gateway.realm, gateway, outgoing)
        else:
            # What is turned around takes as long as the way between the two inside.
            self._forward(gateway.inside, origin, outgoing)
