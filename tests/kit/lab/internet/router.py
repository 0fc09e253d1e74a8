"""The process that passes packets between TUN devices: a shell around NATs and ways.

It is a process of its own so that the programs under test do not take its time, and it ends when
its control socket does.
"""

import ctypes
import json
import math
import os
import select
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface
from random import Random
from typing import Any

from .behaviour import UserspaceNat
from .nat import Nat
from .packets import NETWORK_UNREACHABLE, TIME_EXCEEDED, IcmpError, Packet
from .realms import Device, Gateway, Place, Realm
from .sessions import Side
from .ways import UnderWay, Way

MAX_CONTROL_MESSAGE = 4_096

_MAX_PACKET = 65_536
_BURST = 32  # packets read from one device before the others have their turn
_PR_SET_TIMERSLACK = 29
_WAKE_TIME = 0.0001  # seconds before a packet is due from which we look at the clock all the time


class Router:
    """The internet, which is one hop, and the realms behind NATs, which are none themselves."""

    def __init__(self, address: IPv4Address, seed: str, control: socket.socket) -> None:
        self._address = address.packed
        self._seed = seed
        self._control = control
        self._internet = Realm()
        self._places: list[Place] = []
        self._devices: dict[int, Device] = {}
        self._ways: dict[tuple[Place, Place], Way] = {}
        self._losses: dict[frozenset[Place], float] = {}
        self._under_way = UnderWay[tuple[Place, Packet]]()
        self._now = 0.0  # when what is being handled arrived

    def run(self) -> None:
        """Pass packets on until the control socket is closed."""
        control = self._control.fileno()
        while True:
            readable, _, _ = select.select([control, *self._devices], [], [], self._deliver_due())
            self._now = time.monotonic()
            for source in readable:
                if source != control:
                    self._read(self._devices[source])
                elif not self._obey():
                    return

    def _read(self, device: Device) -> None:
        with suppress(OSError):  # there is nothing more, or the link is down
            for _ in range(_BURST):
                packet = Packet.parse(bytearray(os.read(device.descriptor, _MAX_PACKET)))
                if packet is not None:
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
            and self._way(origin, realm.gateway).due(self._now) is not None  # it takes no time
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
        # To nobody whose address we do not lead to.
        if report is not None and packet.source.address in self._internet.routes:
            # We sit in the middle: half of the way here, and half of it back.
            self._send(origin, target, origin, report)

    def _send(self, origin: Place, target: Place, recipient: Place, packet: Packet) -> None:
        """Let the recipient have a packet after as long as the way to the target takes."""
        due = self._way(origin, target).due(self._now)
        if due is None:
            return
        if due <= self._now:
            self._deliver(recipient, packet)
            return
        self._under_way.add(due, (recipient, packet))

    def _deliver_due(self) -> float | None:
        """Deliver what is due, and say for how long nothing else will be."""
        while True:
            self._now = time.monotonic()
            wait = self._under_way.wait(self._now)
            if wait is None:
                return None
            if wait > 0:
                return max(0.0, wait - _WAKE_TIME)
            self._deliver(*self._under_way.take())

    def _deliver(self, recipient: Place, packet: Packet) -> None:
        if isinstance(recipient, Gateway):
            self._pass_through(recipient, Side.OUTSIDE, recipient, packet)
        elif isinstance(recipient, Device):
            with suppress(OSError):  # a link that is down loses packets
                os.write(recipient.descriptor, packet.data)

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

    def _way(self, origin: Place, target: Place) -> Way:
        way = self._ways.get((origin, target))
        if way is None:
            way = Way(f"{self._seed} {origin.number} {target.number}")
            way.loss = self._loss(origin, target)
            self._ways[origin, target] = way
        return way

    def _loss(self, origin: Place, target: Place) -> float:
        causes = {frozenset([origin]), frozenset([target]), frozenset([origin, target])}
        return 1 - math.prod(1 - self._losses.get(cause, 0.0) for cause in causes)

    # Commands, each a method

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_CONTROL_MESSAGE, 1)
        if not message:
            return False
        command: dict[str, Any] = json.loads(message)
        answer = getattr(self, command.pop("do"))(*descriptors, **command)
        self._control.send(json.dumps(answer).encode())
        return True

    def attach(self, descriptor: int, *, behind: int | None, addresses: Sequence[str]) -> None:
        """Add a TUN device."""
        os.set_blocking(descriptor, False)
        device = Device(len(self._places), self._realm(behind), descriptor)
        self._devices[descriptor] = device
        self._add(device, *addresses)

    def add_nat(
        self,
        *,
        behind: int | None,
        address: str,
        inside: str,
        behaviour: Mapping[str, Any],
    ) -> None:
        """Add a NAT and the realm behind it."""
        number = len(self._places)
        interface = IPv4Interface(inside)
        nat = Nat(
            UserspaceNat.from_json(behaviour),
            inside=interface.packed,
            outside=IPv4Address(address).packed,
            random=Random(f"{self._seed} {number}"),
        )
        self._add(Gateway(number, self._realm(behind), nat, interface), address)

    def set_delay(self, *, between: Sequence[int], seconds: float) -> None:
        """Set how long packets take one way."""
        for way in self._both_ways(between):
            way.delay = seconds

    def set_jitter(self, *, between: Sequence[int], seconds: float) -> None:
        """Set how much longer, at most, they take one way."""
        for way in self._both_ways(between):
            way.jitter = seconds

    def set_loss(self, *, at: Sequence[int], probability: float) -> None:
        """Set how many get lost between two places, or between one and all others."""
        self._losses[frozenset(self._places[number] for number in at)] = probability
        for (origin, target), way in self._ways.items():
            way.loss = self._loss(origin, target)

    def take_fates(self, *, between: Sequence[int]) -> list[float | None]:
        """Tell what has become of the packets one way since this was asked last."""
        way, _ = self._both_ways(between)
        fates = list(way.fates)
        way.fates.clear()
        return fates

    def forget(self, *, numbers: Sequence[int]) -> None:
        """Make NATs forget all mappings."""
        for number in numbers:
            gateway = self._places[number]
            assert isinstance(gateway, Gateway)
            gateway.nat.forget()

    def _add(self, place: Place, *addresses: str) -> None:
        self._places.append(place)
        for address in addresses:
            place.realm.routes[IPv4Address(address).packed] = place

    def _realm(self, behind: int | None) -> Realm:
        if behind is None:
            return self._internet
        gateway = self._places[behind]
        assert isinstance(gateway, Gateway)
        return gateway.inside

    def _both_ways(self, between: Sequence[int]) -> tuple[Way, Way]:
        one, other = (self._places[number] for number in between)
        return self._way(one, other), self._way(other, one)


def main() -> None:
    """Run a router with an address and a seed, controlled through an inherited socket."""
    # Timers are late by 50 microseconds otherwise.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    address, seed, control = sys.argv[1:]
    Router(IPv4Address(address), seed, socket.socket(fileno=int(control))).run()
