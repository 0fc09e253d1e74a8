"""Where packets are, and who has which address there."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Interface

from .nat import Nat
from .packets import Packet


class Place:
    """What has addresses in a realm: a device, or a gateway."""

    def __init__(self, number: int, realm: Realm) -> None:
        self.number = number
        self.realm = realm


class Device(Place):
    """What connects a host: it takes the packets that arrive for it."""

    def __init__(self, number: int, realm: Realm, take: Callable[[Packet], object]) -> None:
        super().__init__(number, realm)
        self.take = take


class Gateway(Place):
    """A NAT, with a realm of its own behind it."""

    def __init__(self, number: int, realm: Realm, nat: Nat, inside: IPv4Interface) -> None:
        super().__init__(number, realm)
        self.nat = nat
        self.inside: Realm = Realm(self)
        self._own = inside.packed
        self._first, self._last = inside.network[0].packed, inside.network[-1].packed

    def takes(self, address: bytes) -> bool:
        """Whether what goes to an address goes to this gateway, as seen from inside."""
        return not self._first <= address <= self._last or address == self._own


class Realm:
    """Where an address means the same to all: behind a gateway, or on the internet."""

    def __init__(self, gateway: Gateway | None = None) -> None:
        self.gateway = gateway
        self.routes: dict[bytes, Place] = {}
