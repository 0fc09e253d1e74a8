"""IPv6 beside IPv4 in the kernel's network: addresses for all, and firewalls before the sites.

The n-th link to the internet is 2001:db8:0:n::/64, and behind it is 2001:db8:1:n::/64, from the
block for documentation (RFC 3849).
"""

import enum
from ipaddress import IPv4Address, IPv6Address

from trio_p2p._lab.namespaces import Namespace
from trio_p2p._lab.networks import WAN, Host, KernelNetwork, LinkEnd, Nat, Site
from trio_p2p._lab.programs import running

from .wire import carry_slowly

_INTERNET = "2001:db8:0:{}::1"
_UPLINKS = "2001:db8:0:{}::2"
_GATEWAYS = "2001:db8:1:{}::1"
_HOSTS = "2001:db8:1:{}::2"


class FirewallAnswer(enum.Enum):
    """What a stateful firewall answers to IPv6 SYNs that it does not let in."""

    DROP = "drop"
    RST = "meta l4proto tcp reject with tcp reset"
    ICMP = "reject with icmpv6 type admin-prohibited"


class DualStackNetwork(KernelNetwork):
    """A kernel network in which hosts and sites have IPv6, too."""

    def __init__(self) -> None:
        super().__init__()
        _forward_ipv6(self._internet)
        self._links: dict[Namespace, int] = {}
        self._delay = 0.0

    def _add_namespace(self, label: str) -> Namespace:
        namespace = super()._add_namespace(label)
        # Nobody has to wait a second for an address to be found unique (RFC 4862 5.4).
        namespace.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/all/accept_dad": 0})
        return namespace

    def _attach(self, namespace: Namespace, address: IPv4Address, *behind: IPv4Address) -> None:
        super()._attach(namespace, address, *behind)
        link = self._links[namespace] = self._link_count
        gateway = _INTERNET.format(link)
        self._internet.ip(f"address add {gateway}/64 dev link{link}")
        namespace.ip(
            f"address add {_UPLINKS.format(link)}/64 dev {WAN}",
            f"route add ::/0 via {gateway} dev {WAN}",
        )

    def _lay_cable(self, one: LinkEnd, other: LinkEnd) -> None:
        if not self._delay:
            super()._lay_cable(one, other)
            return
        carry = running(one.namespace, carry_slowly, one, other, self._delay)
        self._exit_stack.enter_context(carry)
        for end in (one, other):
            end.namespace.ip(*end.configuration)

    def add_dual_stack_site(self, nat: Nat, answer: FirewallAnswer, delay: float = 0.0) -> Site:
        """Add a host behind a NAT for IPv4, and a firewall for IPv6.

        It takes so many seconds from the router to the internet, and back again.
        """
        self._delay = delay
        site = self.add_site(nat)
        self._delay = 0.0
        link = self._links[site.router]
        gateway, prefix = _GATEWAYS.format(link), f"2001:db8:1:{link}::/64"
        _forward_ipv6(site.router)
        self._internet.ip(f"route add {prefix} via {_UPLINKS.format(link)} dev link{link}")
        site.router.ip(f"address add {gateway}/64 dev lan")
        site.host.ip(
            f"address add {_HOSTS.format(link)}/64 dev lan",
            f"route add ::/0 via {gateway} dev lan",
        )
        site.router.command("nft", "-f", "-", stdin=_firewall(answer))
        return site

    def ipv6_of(self, host: Host) -> IPv6Address:
        """The IPv6 address of a host or of a site's host."""
        if isinstance(host, Site):
            return IPv6Address(_HOSTS.format(self._links[host.router]))
        return IPv6Address(_UPLINKS.format(self._links[host.host]))

    def gateway_of(self, site: Site) -> IPv6Address:
        """The IPv6 address that a site's router has on the host's side."""
        return IPv6Address(_GATEWAYS.format(self._links[site.router]))


def remove_ipv4(host: Host) -> None:
    """Leave a host with IPv6 only."""
    host.host.ip("route delete default")


def remove_ipv6(host: Host) -> None:
    """Leave a host with IPv4 only."""
    host.host.sysctl({"ipv6/conf/all/disable_ipv6": 1})


def _forward_ipv6(router: Namespace) -> None:
    router.sysctl({"ipv6/conf/all/forwarding": 1, "ipv6/icmp/ratelimit": 0})


def _firewall(answer: FirewallAnswer) -> str:
    return f"""
table ip6 firewall {{
    chain forward {{
        type filter hook forward priority filter
        ct state invalid drop
        ct state established,related accept
        iifname {WAN} {answer.value}
        iifname {WAN} drop
    }}
}}
"""
