"""Where attackers, the broker that they attack, and honest peers are: addresses of one machine."""

import time

import attrs

from trio_p2p._lab.namespaces import Namespace, enter_user_namespace_if_needed

_LOOK = 0.01  # seconds from one look to the next
_ATTACKERS = range(1, 255)


@attrs.frozen
class Network:
    """Addresses of all who take part; the honest are in other networks than the attackers.

    Attributes:
        broker: the broker's, or that of a sink in its place.
        receiver: an honest receiver's.
        sender: those of honest senders; a number is to be filled in.
        attackers: the attackers'.
    """

    broker: str
    receiver: str
    sender: str
    attackers: tuple[str, ...]


_IPV4_ATTACKERS = tuple(f"127.0.3.{number}" for number in _ATTACKERS)
_IPV4 = "127.0.0.1", "127.0.1.1", "127.0.2.{}"

ONE_ADDRESS = Network(*_IPV4, _IPV4_ATTACKERS[:1])
IPV4_24 = Network(*_IPV4, _IPV4_ATTACKERS)
IPV6_64 = Network(
    "fd00::1", "fd00:0:1::1", "fd00:0:2::{}", tuple(f"fd00:0:3::{each:x}" for each in _ATTACKERS)
)


def open_place() -> Namespace:
    """A loopback interface that has the addresses of all networks.

    Raises:
        NamespacesUnavailableError: the machine does not let us make one.
    """
    enter_user_namespace_if_needed()
    place = Namespace("attacks")
    # The interface has all of 127.0.0.0/8 by itself.
    senders = [IPV6_64.sender.format(number) for number in _ATTACKERS]
    addresses = IPV6_64.broker, IPV6_64.receiver, *senders, *IPV6_64.attackers
    place.ip(*(f"address add {address}/128 dev lo nodad" for address in addresses))
    while not set(addresses) <= _usable(place):  # the kernel puts them to use one after another
        time.sleep(_LOOK)
    return place


def _usable(place: Namespace) -> set[str]:
    """The IPv6 addresses of a place that packets get to."""
    routes = place.command("ip", "-6", "route", "show", "table", "local").splitlines()
    return {words[1] for words in map(str.split, routes) if words[0] == "local"}
