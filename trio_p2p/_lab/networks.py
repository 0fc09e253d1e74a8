"""A small internet in network namespaces: hosts, and sites behind NATs or firewalls to choose.

::

    host -- router --+
            (Nat)    |
                  internet -- host
                     |
    host -- router --+

Every line is a link and every router a hop: what the host of a site sends with TTL 1 ends at its
own router, with TTL 2 in the internet, and with TTL 3 it reaches the router of another site.
"""

import enum
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv4Interface
from typing import Self

import attrs

from .namespaces import Namespace

# From the blocks for documentation (RFC 5737): public to us, and never routed elsewhere.
#: The address of the router in the middle.
INTERNET = IPv4Address("198.51.100.1")
#: The interface of hosts and routers that leads to it.
WAN = "wan"
_PUBLIC_HOSTS = IPv4Address("198.51.100.100")
_ROUTERS = IPv4Address("203.0.113.0")
_FIREWALLED_HOSTS = IPv4Address("192.0.2.0")


class NatKind(enum.Enum):
    """What stands before a host. All that translate keep the source port while it is free."""

    PUBLIC = "no NAT: a stateful firewall, with address-and-port-dependent filtering"
    MASQUERADE = "the default Linux router: address-and-port-dependent filtering"
    ADDRESS_DEPENDENT_FILTERING = "lets in what comes from an address that the port has sent to"
    ENDPOINT_INDEPENDENT_FILTERING = "lets in what comes to a port that has sent"


class SymmetricKind(enum.Enum):
    """A NAT with address-and-port-dependent mapping and filtering that does not keep ports."""

    RANDOM = "each connection gets a random port"
    SEQUENTIAL = "each connection gets the port after that of the last one"


class Answer(enum.Enum):
    """What a router answers to SYNs that it does not let in."""

    DROP = "drop"
    RST = "meta l4proto tcp reject with tcp reset"
    ICMP = "reject with icmp type admin-prohibited"


@attrs.frozen
class Nat:
    """How a router between a host and the internet behaves."""

    kind: NatKind | SymmetricKind = NatKind.MASQUERADE
    answer: Answer = Answer.DROP
    #: Whether sequence numbers outside of the window pass (``nf_conntrack_tcp_be_liberal``).
    is_liberal: bool = False
    #: Whether what fits no connection is dropped, as home routers do, or passes untranslated.
    drops_invalid: bool = False


@attrs.frozen
class LinkEnd:
    """One end of a link: an interface to make in a namespace, and the routes that lead over it."""

    namespace: Namespace
    interface: str
    address: IPv4Interface
    routes: tuple[str, ...] = ()

    @property
    def configuration(self) -> list[str]:
        """The ``ip`` commands that bring the interface up, once it exists."""
        return [
            f"address add {self.address} dev {self.interface}",
            f"link set {self.interface} up",
            *(f"route add {route} dev {self.interface}" for route in self.routes),
        ]


def connect(one: LinkEnd, other: LinkEnd) -> None:
    """Lay a virtual cable between two namespaces."""
    one.namespace.ip(
        f"link add {one.interface} type veth "
        f"peer name {other.interface} netns {other.namespace.path}",
        *one.configuration,
    )
    other.namespace.ip(*other.configuration)


def become_router(namespace: Namespace) -> None:
    """Forward packets, from whatever source, and report every one whose TTL runs out."""
    namespace.sysctl(
        {
            "ipv4/ip_forward": 1,
            "ipv4/conf/all/rp_filter": 0,
            "ipv4/conf/default/rp_filter": 0,
            "ipv4/icmp_ratelimit": 0,
        }
    )
    with suppress(FileNotFoundError):  # one limit for the whole machine before Linux 6.13
        namespace.sysctl({"ipv4/icmp_msgs_per_sec": 1_000_000, "ipv4/icmp_msgs_burst": 1_000_000})


def apply_nat(router: Namespace, nat: Nat, *, wan: str) -> None:
    """Make a router translate and filter what passes through its interface to the internet."""
    router.command("nft", "-f", "-", stdin=_ruleset(nat, wan))
    if nat.is_liberal:
        router.sysctl({"netfilter/nf_conntrack_tcp_be_liberal": 1})


# Netfilter by itself lets in the packets of known connections only. These kinds remember which host
# sent from which port, and to whom, and lead to that host the new connections that match this:
_ADMITTED: dict[NatKind | SymmetricKind, str] = {
    NatKind.ADDRESS_DEPENDENT_FILTERING: "ip saddr . tcp dport @contacts",
    NatKind.ENDPOINT_INDEPENDENT_FILTERING: "meta l4proto tcp",
}

# So many that no port comes again as long as a connection from it may be remembered (2 minutes).
_POOL = 8_192
_PORTS = ", ".join(f"{index} : {40_000 + index}" for index in range(_POOL))
_TRANSLATIONS: dict[NatKind | SymmetricKind, str] = {
    SymmetricKind.RANDOM: "masquerade fully-random",
    # Numbers without a map are taken for ports in the wrong byte order.
    SymmetricKind.SEQUENTIAL: (
        f"meta l4proto tcp masquerade to : numgen inc mod {_POOL} map {{ {_PORTS} }}"
    ),
}


def _ruleset(nat: Nat, wan: str) -> str:
    is_new = f"oifname {wan} tcp flags & (syn | ack) == syn"
    admission = f"""
    chain remember {{
        type filter hook postrouting priority srcnat - 10
        {is_new} update @owners {{ tcp sport : ip saddr . tcp sport }}
        {is_new} update @contacts {{ ip daddr . tcp sport }}
    }}
    chain admit {{
        type nat hook prerouting priority dstnat
        iifname {wan} {_ADMITTED.get(nat.kind)} dnat ip to tcp dport map @owners
    }}"""
    translation = f"""
    chain translate {{
        type nat hook postrouting priority srcnat
        oifname {wan} {_TRANSLATIONS.get(nat.kind, "masquerade")}
    }}"""
    verdicts = f"""
        {"ct state invalid drop" if nat.drops_invalid else ""}
        ct state established,related accept
        ct status dnat accept
        iifname {wan} {nat.answer.value}
        iifname {wan} drop"""
    return f"""
table ip router {{
    map owners {{
        type inet_service : ipv4_addr . inet_service
        size 65536
        flags dynamic
    }}
    set contacts {{
        type ipv4_addr . inet_service
        size 65536
        flags dynamic
    }}
    {admission if nat.kind in _ADMITTED else ""}
    {translation if nat.kind is not NatKind.PUBLIC else ""}
    chain forward {{
        type filter hook forward priority filter
        {verdicts}
    }}
    chain input {{
        type filter hook input priority filter
        {verdicts}
    }}
}}
"""


@attrs.frozen(eq=False)
class Host:
    """A host on the internet: programs run in the namespace `host` and use `host_address`."""

    host: Namespace
    host_address: IPv4Address
    #: Where the internet sees it.
    public_address: IPv4Address


@attrs.frozen(eq=False)
class Site(Host):
    """A host behind a router of its own."""

    router: Namespace
    nat: Nat


class Network(ABC):
    """An internet that hosts and sites can be added to. Closing it closes all its namespaces."""

    def __init__(self) -> None:
        self._exit_stack = ExitStack()
        self._host_count = 0
        self._site_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit_stack.close()

    def add_host(self) -> Host:
        """Add a host with a public address and nothing before it, such as a broker's."""
        self._host_count += 1
        address = _PUBLIC_HOSTS + self._host_count
        host = self._add_namespace(f"host {self._host_count}")
        self._attach(host, address)
        return Host(host, address, address)

    def add_site(self, nat: Nat) -> Site:
        """Add a host behind a router that behaves as `nat` says."""
        router_address = self._new_router_address()
        host = self._add_namespace(f"host of site {self._site_count}")
        router = self._add_namespace(f"router of site {self._site_count}")
        become_router(router)
        if nat.kind is NatKind.PUBLIC:
            host_address = public_address = _FIREWALLED_HOSTS + self._site_count
            gateway, prefix = router_address, 32
            self._attach(router, router_address, host_address)
        else:
            host_address = IPv4Address(f"192.168.{self._site_count}.2")
            public_address = router_address
            gateway, prefix = host_address - 1, 24
            self._attach(router, router_address)
        to_host = (f"{host_address}/32",)
        to_router = (f"{gateway}/32", f"default via {gateway}")
        connect(
            LinkEnd(router, "lan", IPv4Interface((gateway, prefix)), to_host),
            LinkEnd(host, "lan", IPv4Interface((host_address, prefix)), to_router),
        )
        apply_nat(router, nat, wan=WAN)
        return Site(host, host_address, public_address, router, nat)

    def _new_router_address(self) -> IPv4Address:
        self._site_count += 1
        return _ROUTERS + self._site_count

    def _add_namespace(self, label: str) -> Namespace:
        return self._exit_stack.enter_context(Namespace(label))

    @abstractmethod
    def _attach(self, namespace: Namespace, address: IPv4Address, *behind: IPv4Address) -> None:
        """Link a namespace to the internet, with an address and more addresses behind it."""


class KernelNetwork(Network):
    """A network whose internet is one more namespace: the kernel does it all, without delays."""

    def __init__(self) -> None:
        super().__init__()
        self._internet = self._add_namespace("internet")
        self._link_count = 0
        become_router(self._internet)

    def _attach(self, namespace: Namespace, address: IPv4Address, *behind: IPv4Address) -> None:
        self._link_count += 1
        routes = (f"{address}/32", *(f"{other}/32 via {address}" for other in behind))
        link_name = f"link{self._link_count}"
        self._lay_cable(
            internet_uplink(namespace, address),
            LinkEnd(self._internet, link_name, IPv4Interface(INTERNET), routes),
        )

    def _lay_cable(self, one: LinkEnd, other: LinkEnd) -> None:
        connect(one, other)


def internet_uplink(namespace: Namespace, address: IPv4Address) -> LinkEnd:
    """What the link from a namespace to the internet's router looks like on this side."""
    routes = (f"{INTERNET}/32", f"default via {INTERNET}")
    return LinkEnd(namespace, WAN, IPv4Interface(address), routes)
