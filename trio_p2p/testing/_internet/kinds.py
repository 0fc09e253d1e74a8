"""The NATs that the library is tried behind, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from .behaviour import Allocation, Dependence, NatBehaviour, Refusal

_EIM_EIF = NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT)
_EIM_ADF = NatBehaviour(filtering=Dependence.ADDRESS_DEPENDENT)


def _eim_apdf(
    refusal: Refusal = Refusal.DROP, allocation: Allocation = Allocation.PRESERVING
) -> NatBehaviour:
    return NatBehaviour(refusal=refusal, allocation=allocation)


def _dependent(allocation: Allocation, refusal: Refusal = Refusal.DROP) -> NatBehaviour:
    return NatBehaviour(
        mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT,
        allocation=allocation,
        refusal=refusal,
        tracks_isn=True,
    )


#: Endpoint-independent mappings (eim) are listed by their filtering: endpoint-independent (eif),
#: address-dependent (adf), address-and-port-dependent (apdf). The mappings of the others depend on
#: address and port, and so do their filters; a masquerade keeps the source port even so. None is no
#: NAT at all.
KINDS: Mapping[str, NatBehaviour | None] = MappingProxyType(
    {
        "public": None,
        "eim-eif": _EIM_EIF,
        "eim-adf": _EIM_ADF,
        "eim-apdf": _eim_apdf(),
        "eim-apdf-random-port": _eim_apdf(allocation=Allocation.RANDOM),
        "eim-apdf-rst": _eim_apdf(Refusal.RST),
        "eim-apdf-icmp": _eim_apdf(Refusal.ICMP),
        "masquerade": _dependent(Allocation.PRESERVING),
        "masquerade-rst": _dependent(Allocation.PRESERVING, Refusal.RST),
        "sequential": _dependent(Allocation.SEQUENTIAL),
        "sequential-rst": _dependent(Allocation.SEQUENTIAL, Refusal.RST),
        "random": _dependent(Allocation.RANDOM),
        "random-rst": _dependent(Allocation.RANDOM, Refusal.RST),
    }
)
