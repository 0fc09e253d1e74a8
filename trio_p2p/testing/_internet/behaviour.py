"""What a NAT does, in the terms of RFC 4787 and RFC 5382."""

import enum
from dataclasses import dataclass


class Dependence(enum.IntEnum):
    """How much of a remote endpoint counts: the value says how many of its two parts."""

    ENDPOINT_INDEPENDENT = 0
    ADDRESS_DEPENDENT = 1
    ADDRESS_AND_PORT_DEPENDENT = 2


class Allocation(enum.StrEnum):
    """Which external port a new mapping gets."""

    PRESERVING = "the host's own port while it is free, else a random one"
    SEQUENTIAL = "the one a step after the last"
    RANDOM = "any that is free"


class Refusal(enum.StrEnum):
    """What becomes of segments that are not let in."""

    DROP = "nothing is answered"
    RST = "answered by a TCP RST"
    ICMP = "answered by an ICMP error: communication administratively prohibited"


@dataclass(frozen=True, kw_only=True)
class NatBehaviour:
    """How a NAT behaves.

    Two mappings share a port wherever mapping and filtering can tell them apart by the remote
    endpoint, as those of Linux do ("port overloading").

    Attributes:
        mapping: the remote endpoints that a mapping is for.
        filtering: who may send to a mapping, compared with whom it has sent to.
        allocation: which external port a new mapping gets.
        step: how far sequential allocation goes.
        refusal: what is answered to a segment that is not let in.
        tracks_isn: whether, once both sides have sent a SYN, one with another initial sequence
            number is dropped as INVALID, as Linux does with ``nf_conntrack_tcp_be_liberal=0``.
        picks_up: whether hosts may go on with connections that the NAT knows nothing of, as Linux
            lets them with ``nf_conntrack_tcp_loose=1``.
        hairpins: whether hosts behind the NAT reach each other at its external address.
        closes_on_icmp: whether ICMP errors from outside, other than Time Exceeded, end what they
            are about, as an RST always does.
        closes_on_time_exceeded: the same for Time Exceeded (against RFC 5382, REQ-10).
        lifetime: for how many seconds of silence a connection is remembered (RFC 5382, REQ-5).
        transitory_lifetime: the same while it opens, and once both sides have closed it.
    """

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    allocation: Allocation = Allocation.PRESERVING
    step: int = 1
    refusal: Refusal = Refusal.DROP
    tracks_isn: bool = False
    picks_up: bool = True
    hairpins: bool = False
    closes_on_icmp: bool = False
    closes_on_time_exceeded: bool = False
    lifetime: float = 7440.0
    transitory_lifetime: float = 240.0
