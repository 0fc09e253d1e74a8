"""From what a survey has seen to what the NATs do, in the words of RFC 4787 and RFC 5382. Pure.

Several NATs in a row look like one, which is what matters to a peer. What could not be seen is
None. Where TCP or the number of the broker's addresses leaves two possibilities, this is decided:

* Seen from two ports of one address, and nowhere else, a mapping that is the same is called
  endpoint-independent. That it depends on the address is hardly ever seen; who relies on it
  loses a round.
* Seen from two addresses and from one port of each, a mapping that differs is called address- and
  port-dependent, for the same reason.
* A host behind a NAT that lets in other ports of one address, where no other address has been
  tried, is called address-dependent: what is known for sure. Without a NAT it is called
  endpoint-independent, because firewalls that know addresses but not ports are not made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import attrs

from .._addresses import Endpoint
from .._wire.offer import Allocation, Behaviour, Nat

# How far apart the ports of two mappings may be that are made one right after the other, if the NAT
# counts: others behind it take ports meanwhile. By chance three random ports are so close once in
# 130,000 times, and three of four once in 32,000.
MAX_GAP = 128
MAX_GAP_OF_TWO = 16  # of two ports, by chance once in 2,000 times
MIN_WRAP = 1024  # how far a counter that starts over jumps back at least


@attrs.frozen
class Sample:
    """One connection as both ends see it.

    Attributes:
        local: the endpoint that it was sent from.
        remote: the endpoint that it leads to.
        observed: where the other end sees it come from.
        order: its place among the others, in the order in which they left.
    """

    local: Endpoint
    remote: Endpoint
    observed: Endpoint
    order: int

    @property
    def is_translated(self) -> bool:
        """Whether there is a NAT on the way."""
        return self.local != self.observed


@attrs.frozen
class Calls:
    """Which hosts got in, to a port that had sent to one endpoint only. None: no host has tried.

    Attributes:
        same_address: another port of that endpoint's address.
        other_address: another address.
    """

    same_address: bool | None = None
    other_address: bool | None = None


def classify(samples: Iterable[Sample], calls: Calls = Calls()) -> Nat:
    """What the NATs do, as far as it was seen."""
    in_order = sorted(samples, key=lambda sample: sample.order)
    mapping = mapping_of(in_order)
    allocation, step = allocation_of(in_order)
    return Nat(mapping, filtering_of(calls, in_order), allocation, step)


def mapping_of(samples: Sequence[Sample]) -> Behaviour | None:
    """What the endpoint that others see depends on."""
    pairs = [
        (one, other)
        for one, other in combinations(samples, 2)
        if one.local == other.local and one.remote != other.remote
    ]
    across_ports = {_is_same(*pair) for pair in pairs if _has_same_address(*pair)}
    across_addresses = {_is_same(*pair) for pair in pairs if not _has_same_address(*pair)}
    if False in across_ports:
        return Behaviour.ADDRESS_AND_PORT_DEPENDENT
    if False in across_addresses:
        if True in across_ports:
            return Behaviour.ADDRESS_DEPENDENT
        return Behaviour.ADDRESS_AND_PORT_DEPENDENT
    if pairs or (samples and not any(sample.is_translated for sample in samples)):
        return Behaviour.ENDPOINT_INDEPENDENT
    return None


def _is_same(one: Sample, other: Sample) -> bool:
    return one.observed == other.observed


def _has_same_address(one: Sample, other: Sample) -> bool:
    return one.remote.address == other.remote.address


def allocation_of(samples: Sequence[Sample]) -> tuple[Allocation | None, int]:
    """How the NAT chooses ports, and the step between two if it goes in sequence, else 0.

    Args:
        samples: in the order in which they left.
    """
    fresh = {(sample.local, sample.observed): None for sample in samples}
    changed = [observed.port for local, observed in fresh if local.port != observed.port]
    if fresh and not changed:
        return Allocation.PRESERVING, 0
    # Most may have kept their ports, and the others found them taken; or a NAT lets only the first
    # mapping of a port keep it, and then the others say what comes next.
    kept = len(fresh) - len(changed)
    if kept > len(changed) and mapping_of(samples) is Behaviour.ENDPOINT_INDEPENDENT:
        return Allocation.PRESERVING, 0
    if len(changed) < 2:
        return None, 0
    step = step_of(changed)
    return (Allocation.SEQUENTIAL, step) if step else (Allocation.RANDOM, 0)


def step_of(ports: Sequence[int]) -> int:
    """The step of the counter that the ports come from, one after the other; 0 if from none.

    One of four or more may be left out: where this host has used its local port a while ago, a NAT
    that remembers that gives the port of then again.
    """
    step = _step_of_all(ports)
    if step or len(ports) < 4:
        return step
    steps = (_step_of_all([*ports[:left], *ports[left + 1 :]]) for left in range(len(ports)))
    return next((step for step in steps if step), 0)


def _step_of_all(ports: Sequence[int]) -> int:
    """The step that explains all.

    Others take ports as well, so that some may be missing: it is the largest that explains all the
    gaps. A SYN that was lost has left again later, and got a port out of its turn. Once the counter
    may have started over.
    """
    gaps = [later - earlier for earlier, later in pairwise(ports)]
    limit = MAX_GAP if len(gaps) > 1 else MAX_GAP_OF_TWO
    small = [gap for gap in gaps if 0 < abs(gap) <= limit]
    if not small:
        return 0
    direction = -1 if all(gap < 0 for gap in small) else 1  # hardly any NAT counts down
    large = [gap for gap in gaps if gap not in small]
    if not large:
        return direction * math.gcd(*(high - low for low, high in pairwise(sorted(ports))))
    is_in_turn = len(small) > 1 and all(gap * direction > 0 for gap in small)
    has_wrapped = len(large) == 1 and large[0] * direction <= -MIN_WRAP
    return direction * math.gcd(*small) if is_in_turn and has_wrapped else 0


def filtering_of(calls: Calls, samples: Sequence[Sample]) -> Behaviour | None:
    """Which hosts get in, to a port that has sent to another host."""
    match calls:
        case Calls(other_address=True):
            return Behaviour.ENDPOINT_INDEPENDENT
        case Calls(same_address=False):
            return Behaviour.ADDRESS_AND_PORT_DEPENDENT
        case Calls(same_address=True, other_address=False):
            return Behaviour.ADDRESS_DEPENDENT
        case Calls(same_address=True):
            is_translated = any(sample.is_translated for sample in samples)
            return Behaviour.ADDRESS_DEPENDENT if is_translated else Behaviour.ENDPOINT_INDEPENDENT
        case _:
            return None
