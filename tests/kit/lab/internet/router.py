"""The process that passes packets between TUN devices: a shell around an internet.

It is a process of its own so that the programs under test do not take its time, and it ends when
its control socket does.
"""

import ctypes
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from trio_p2p.testing._internet.behaviour import Allocation, Dependence, NatBehaviour, Refusal
from trio_p2p.testing._internet.internet import Internet
from trio_p2p.testing._internet.packets import Packet
from trio_p2p.testing._internet.realms import Device, Gateway, Place
from trio_p2p.testing._internet.ways import UnderWay, Way

MAX_CONTROL_MESSAGE = 4_096

_MAX_PACKET = 65_536
_BURST = 32  # packets read from one device before the others have their turn
_PR_SET_TIMERSLACK = 29
_WAKE_TIME = 0.0001  # seconds before a packet is due from which we look at the clock all the time


class Router:
    """An internet of TUN devices."""

    def __init__(self, address: IPv4Address, seed: str, control: socket.socket) -> None:
        self._under_way = UnderWay[Callable[[], object]]()
        self._internet = Internet(address, seed, time.monotonic, self._under_way.add)
        self._control = control
        self._places: list[Place] = []
        self._devices: dict[int, Device] = {}

    def run(self) -> None:
        """Pass packets on until the control socket is closed."""
        control = self._control.fileno()
        while True:
            readable, _, _ = select.select([control, *self._devices], [], [], self._deliver_due())
            for source in readable:
                if source != control:
                    self._read(source)
                elif not self._obey():
                    return

    def _deliver_due(self) -> float | None:
        """Deliver what is due, and say for how long nothing else will be."""
        while True:
            wait = self._under_way.wait(time.monotonic())
            if wait is None:
                return None
            if wait > 0:
                return max(0.0, wait - _WAKE_TIME)
            self._under_way.take()()

    def _read(self, descriptor: int) -> None:
        device = self._devices[descriptor]
        with suppress(OSError):  # there is nothing more, or the link is down
            for _ in range(_BURST):
                packet = Packet.parse(bytearray(os.read(descriptor, _MAX_PACKET)))
                if packet is not None:
                    self._internet.send(device, packet)

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
        device = self._internet.add_device(
            partial(_write, descriptor), map(IPv4Address, addresses), self._gateway(behind)
        )
        self._devices[descriptor] = device
        self._places.append(device)

    def add_nat(
        self,
        *,
        behind: int | None,
        address: str,
        inside: str,
        behaviour: Mapping[str, Any],
    ) -> None:
        """Add a NAT and the realm behind it."""
        gateway = self._internet.add_gateway(
            behaviour_of(behaviour),
            IPv4Address(address),
            IPv4Interface(inside),
            self._gateway(behind),
        )
        self._places.append(gateway)

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
        self._internet.set_loss([self._places[number] for number in at], probability)

    def take_fates(self, *, between: Sequence[int]) -> list[float | None]:
        """Tell what has become of the packets one way since this was asked last."""
        way, _ = self._both_ways(between)
        fates = list(way.fates)
        way.fates.clear()
        return fates

    def forget(self, *, numbers: Sequence[int]) -> None:
        """Make NATs forget all mappings."""
        for number in numbers:
            gateway = self._gateway(number)
            assert gateway is not None
            gateway.nat.forget()

    def _gateway(self, number: int | None) -> Gateway | None:
        if number is None:
            return None
        gateway = self._places[number]
        assert isinstance(gateway, Gateway)
        return gateway

    def _both_ways(self, between: Sequence[int]) -> tuple[Way, Way]:
        one, other = (self._places[number] for number in between)
        return self._internet.way(one, other), self._internet.way(other, one)


def behaviour_of(fields: Mapping[str, Any]) -> NatBehaviour:
    """Read what `dataclasses.asdict` made, and JSON has carried."""
    enums = {
        "mapping": Dependence(fields["mapping"]),
        "filtering": Dependence(fields["filtering"]),
        "allocation": Allocation(fields["allocation"]),
        "refusal": Refusal(fields["refusal"]),
    }
    return NatBehaviour(**{**fields, **enums})


def _write(descriptor: int, packet: Packet) -> None:
    with suppress(OSError):  # a link that is down loses packets
        os.write(descriptor, packet.data)


def main() -> None:
    """Run a router with an address and a seed, controlled through an inherited socket."""
    # Timers are late by 50 microseconds otherwise.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    address, seed, control = sys.argv[1:]
    Router(IPv4Address(address), seed, socket.socket(fileno=int(control))).run()
