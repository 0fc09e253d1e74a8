"""Surveys that hosts behind several kinds of NATs would have made."""

from ipaddress import ip_address

from trio_p2p import Endpoint
from trio_p2p._nat.findings import RouterOffer, Survey
from trio_p2p._wire.offer import Allocation, Behaviour, Nat

EIM, ADM, APDM = Behaviour
BROKER = Endpoint(ip_address("198.51.100.10"), 4433)
BROKER6 = Endpoint(ip_address("2001:db8::10"), 4433)
ADDRESS6 = ip_address("2001:db8:1::2")
LOCAL, REFLEXIVE = ip_address("192.168.1.2"), ip_address("203.0.113.1")
NO_NAT = Nat(EIM, EIM, Allocation.PRESERVING)
HOME = Nat(EIM, APDM, Allocation.PRESERVING)
RANDOM = Nat(APDM, APDM, Allocation.RANDOM)
AT_HOME = Survey(
    BROKER, LOCAL, REFLEXIVE, HOME, hops=(ip_address("192.168.1.1"), ip_address("198.51.100.1"))
)


def mapped(*externals: str) -> tuple[RouterOffer, ...]:
    offers = (RouterOffer("PCP", ip_address(text)) for text in externals)
    return (*offers, RouterOffer("NAT-PMP", failure="the router did not answer"))
