"""A network whose internet is a process of ours: with NATs of any behaviour, delays and losses."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, overload

import attrs

import trio_p2p
from trio_p2p._lab.namespaces import Namespace
from trio_p2p._lab.networks import INTERNET, WAN, Host, LinkEnd, Nat, Network, Site, internet_uplink
from trio_p2p.testing._internet.behaviour import NatBehaviour

from .internet import router
from .tun import open_tun, open_tun_device

# Isolated, so that nothing but the standard library makes it slow to start.
_START = """
import sys
sys.path += [sys.argv.pop(1), sys.argv.pop(1)]
from internet.router import main
main()
"""
_PREFIX = 24
_LANS = IPv4Address("10.0.0.0")
_CARRIERS = IPv4Address("100.64.0.0")  # addresses for what is between two NATs (RFC 6598)


@attrs.frozen(eq=False)
class Gateway:
    """A NAT of a `UserspaceNetwork`, for hosts and more NATs to stand behind.

    Attributes:
        nat: how it behaves.
        address: its address outside.
        inside_address: its address inside.
        network: the addresses that it translates.
        behind: the next NAT on the way to the internet.
    """

    nat: NatBehaviour
    address: IPv4Address
    inside_address: IPv4Address
    network: IPv4Network
    behind: "Gateway | None"

    @property
    def public_address(self) -> IPv4Address:
        """Where the internet sees those behind it."""
        return self.address if self.behind is None else self.behind.public_address


@attrs.frozen(eq=False)
class UserspaceHost(Host):
    """A host of a `UserspaceNetwork`, behind any number of its NATs, innermost first."""

    gateways: tuple[Gateway, ...]


class UserspaceNetwork(Network):
    """A network with an internet of settable delays and losses, and two sorts of NATs around it.

    Kernel NATs are those that people have, userspace NATs behave in every way that there is.

    Packets take half of the round-trip time from host to host. The internet's router sits in the
    middle: what dies there is reported after half of the round-trip time, too. What is late or
    lost by chance depends on the seed, and for each way on the number of packets that it has seen.
    """

    def __init__(self, *, seed: str = "") -> None:
        super().__init__()
        os.close(open_tun())  # better missed now than at the first host
        # The router's process numbers devices and NATs in the order in which it hears of them.
        self._numbers: dict[Namespace | Gateway, int] = {}
        self._free_addresses: dict[Gateway, Iterator[IPv4Address]] = {}
        self._network_count = 0
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            folders = [str(Path(__file__).parent), str(Path(trio_p2p.__file__).parents[1])]
            self._router = subprocess.Popen(
                [
                    sys.executable,
                    "-ISc",
                    _START,
                    *folders,
                    str(INTERNET),
                    seed,
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
            )

    def __exit__(self, *exception: object) -> None:
        # The router ends by itself when its control socket is closed, be it by our death.
        self._control.close()
        self._router.wait()
        super().__exit__(*exception)

    def add_host(self, *, behind: Gateway | None = None) -> UserspaceHost:
        """Add a host to the network behind a NAT, or to the internet, with nothing before it."""
        if behind is None:
            host = super().add_host()
            return UserspaceHost(host.host, host.host_address, host.public_address, ())
        address = next(self._free_addresses[behind])
        self._host_count += 1
        namespace = self._add_namespace(f"host {self._host_count}")
        interface = IPv4Interface((address, behind.network.prefixlen))
        route = f"default via {behind.inside_address}"
        self._open_device(LinkEnd(namespace, WAN, interface, (route,)), [address], behind)
        gateways = tuple(_gateways_from(behind))
        return UserspaceHost(namespace, address, behind.public_address, gateways)

    def add_nat(
        self,
        nat: NatBehaviour,
        *,
        behind: Gateway | None = None,
        network: IPv4Network | None = None,
    ) -> Gateway:
        """Add a NAT to the internet, or behind another NAT.

        Args:
            nat: how it behaves.
            behind: the NAT that it is behind.
            network: the addresses behind it; without, ones that nobody else has.
        """
        network = network or self._unused_network(_LANS)
        free_addresses = iter(network.hosts())
        gateway = Gateway(
            nat=nat,
            address=next(self._free_addresses[behind]) if behind else self._new_router_address(),
            inside_address=next(free_addresses),
            network=network,
            behind=behind,
        )
        self._free_addresses[gateway] = free_addresses
        self._tell(
            "add_nat",
            behind=behind and self._numbers[behind],
            address=str(gateway.address),
            inside=f"{gateway.inside_address}/{network.prefixlen}",
            behaviour=asdict(nat),
        )
        self._numbers[gateway] = len(self._numbers)
        return gateway

    def add_carrier(self, nat: NatBehaviour, *, behind: Gateway | None = None) -> Gateway:
        """Add a carrier's NAT, for more NATs to stand behind: it has 100.64.x.0/24 inside."""
        return self.add_nat(nat, behind=behind, network=self._unused_network(_CARRIERS))

    @overload
    def add_site(self, nat: Nat) -> Site: ...
    @overload
    def add_site(
        self, nat: NatBehaviour | None, *outer: NatBehaviour, behind: Gateway | None = None
    ) -> UserspaceHost: ...
    def add_site(
        self,
        nat: Nat | NatBehaviour | None,
        *outer: NatBehaviour,
        behind: Gateway | None = None,
    ) -> Host:
        """Add a host behind a NAT of its own, or behind several.

        Args:
            nat: how the NAT behaves; None is no NAT.
            outer: how those behave that it is behind, innermost first.
            behind: the NAT that all of them are behind.
        """
        if isinstance(nat, Nat):
            return super().add_site(nat)
        for carrier in reversed(outer):
            behind = self.add_carrier(carrier, behind=behind)
        if nat is not None:
            behind = self.add_nat(nat, behind=behind)
        return self.add_host(behind=behind)

    def set_round_trip(self, one: Host, other: Host, seconds: float) -> None:
        """Set how long packets take between two hosts of the network, there and back.

        All hosts behind the same outermost NAT are equally far from those that are not.
        """
        self._tell("set_delay", between=self._where_they_part(one, other), seconds=seconds / 2)

    def set_jitter(self, one: Host, other: Host, seconds: float) -> None:
        """Set how much longer packets take one way, at most; they keep their order."""
        self._tell("set_jitter", between=self._where_they_part(one, other), seconds=seconds)

    def set_loss(self, one: Host, other: Host | None, probability: float) -> None:
        """Set how many packets get lost between two hosts, or between one and all others."""
        at = self._where_they_part(one, other) if other else [self._numbers[_uplink(one)]]
        self._tell("set_loss", at=at, probability=probability)

    def take_fates(self, one: Host, other: Host) -> list[float | None]:
        """What has become of the packets from one host to another since this was asked last.

        The internet itself says so: for how many seconds it has kept each of the last hundred, or
        None for one that it has lost.
        """
        fates: list[float | None] = self._tell(
            "take_fates", between=self._where_they_part(one, other)
        )
        return fates

    def forget(self, what: UserspaceHost | Gateway) -> None:
        """Make a NAT, or all those before a host, lose their mappings."""
        gateways = what.gateways if isinstance(what, UserspaceHost) else [what]
        self._tell("forget", numbers=[self._numbers[gateway] for gateway in gateways])

    def set_mtu(self, host: Host, size: int) -> None:
        """Set how long packets may be that leave a host, its router's included."""
        _uplink(host).ip(f"link set {WAN} mtu {size}")

    def _where_they_part(self, one: Host, other: Host) -> list[int]:
        """The places of two hosts in the innermost realm that both are in, or behind."""
        ways = [reversed([_uplink(host), *_gateways_of(host)]) for host in (one, other)]
        for parting in zip(*ways, strict=False):
            if parting[0] is not parting[1]:
                return [self._numbers[place] for place in parting]
        raise ValueError("there is no way from a host to itself")

    def _attach(self, namespace: Namespace, address: IPv4Address, *behind: IPv4Address) -> None:
        self._open_device(internet_uplink(namespace, address), [address, *behind])

    def _open_device(
        self, uplink: LinkEnd, addresses: Sequence[IPv4Address], behind: Gateway | None = None
    ) -> None:
        device = uplink.namespace.call(open_tun_device, uplink.interface)
        try:
            self._tell(
                "attach",
                device,
                behind=behind and self._numbers[behind],
                addresses=[str(address) for address in addresses],
            )
        finally:
            os.close(device)
        uplink.namespace.ip(*uplink.configuration)
        self._numbers[uplink.namespace] = len(self._numbers)

    def _unused_network(self, first: IPv4Address) -> IPv4Network:
        self._network_count += 1
        return IPv4Network((first + (self._network_count << 32 - _PREFIX), _PREFIX))

    def _tell(self, do: str, *descriptors: int, **arguments: object) -> Any:
        command = {"do": do, **arguments}
        socket.send_fds(self._control, [json.dumps(command).encode()], descriptors)
        answer = self._control.recv(router.MAX_CONTROL_MESSAGE)
        if not answer:
            raise RuntimeError(f"the router process died of {command}")
        return json.loads(answer)


def _uplink(host: Host) -> Namespace:
    return host.router if isinstance(host, Site) else host.host


def _gateways_of(host: Host) -> tuple[Gateway, ...]:
    return host.gateways if isinstance(host, UserspaceHost) else ()


def _gateways_from(gateway: Gateway | None) -> Iterator[Gateway]:
    while gateway is not None:
        yield gateway
        gateway = gateway.behind
