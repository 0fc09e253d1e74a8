"""How much the broker relays, for whom, and how fast.

Relayed bytes are paid for by the broker's operator, so there are limits: on what one circuit may
carry, and on how many circuits an address or an identity may have at a time. Sans-IO: it counts
what it is told of, and time is an argument.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, TypeVar

import attrs

from .._addresses import IPAddress
from .._errors import LocalProtocolError
from .._identity.peer_id import PeerId
from .._wire.messages import MAX_COUNT, MAX_IDLE_TIME

# Of the rate: so long may a circuit carry at once what it has not used before. Long enough for
# pieces that are worth a system call, and short enough for the pauses not to be noticed.
BURST_TIME = 0.1

# Seconds. Peers say something well before a circuit has been idle for too long, but not every few
# seconds: that would cost more than a circuit that is kept too long.
MIN_IDLE_TIME = 10.0

T = TypeVar("T")

_IPV6_NETWORK_BYTES = 8  # a host has a /64 for itself (RFC 6177), so its addresses count together


def _check_count(_limits: RelayLimits, attribute: attrs.Attribute[Any], value: Any) -> None:
    if type(value) is not int or not 1 <= value <= MAX_COUNT:
        raise LocalProtocolError(
            f"{attribute.name} of RelayLimits must be a whole number of at least 1, not {value!r}"
        )


def _check_idle_time(_limits: RelayLimits, attribute: attrs.Attribute[Any], value: Any) -> None:
    if type(value) not in (int, float) or not MIN_IDLE_TIME <= value < math.inf:
        raise LocalProtocolError(
            f"{attribute.name} of RelayLimits must be a number of seconds, {MIN_IDLE_TIME:g} or "
            f"more, not {value!r}: peers do not say something more often than that"
        )


@attrs.frozen
class RelayLimits:
    """How much a broker relays between peers that find no direct way.

    A circuit is one relayed connection between two peers. What is above a limit is refused or cut
    with a sentence that names the limit, to both peers; only the rate lets none of them fail.

    Attributes:
        bytes_per_second: how fast a circuit is, both directions together; None for no limit.
        max_bytes: how much a circuit carries before it is cut, both directions together; None for
            no limit.
        circuits_per_ip: how many circuits an IP address may have at a time as the sender, which is
            the side that asks for them. IPv6 addresses of the same /64 count as one. It should be
            well below what a receiver may have, or one sender takes them all.
        circuits_per_identity: how many circuits a receiver's identity may have at a time.
        idle_time: seconds without a byte in either direction, after which a circuit is cut; at
            least 10. Peers are told, and say something before that, if they are there.

    Raises:
        LocalProtocolError: a limit is too low, or not a number.
    """

    bytes_per_second: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_count)
    )
    max_bytes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_count)
    )
    circuits_per_ip: int = attrs.field(default=32, validator=_check_count)
    circuits_per_identity: int = attrs.field(default=128, validator=_check_count)
    idle_time: float = attrs.field(default=60.0, validator=_check_idle_time)

    @property
    def told(self) -> tuple[int | None, int | None, int]:
        """The last three fields of ``relayed``: rate, bytes, and idle time in milliseconds."""
        idle_time = min(math.floor(1000 * self.idle_time), MAX_IDLE_TIME)
        return self.bytes_per_second, self.max_bytes, idle_time


DEFAULT_LIMITS = RelayLimits()


class OverQuotaError(Exception):
    """A circuit would be one too many; its text names the limit."""


@attrs.define(eq=False, weakref_slot=False)
class CircuitGrant:
    """The right to one circuit, from the request for it until its end.

    Attributes:
        circuit: the identifier of the circuit.
        receiver: the identity that it counts for.
        source: of the sender; the circuit counts for it as well.
    """

    circuit: bytes = attrs.field(repr=False)
    receiver: PeerId
    source: bytes


class RelayQuota:
    """Counts the circuits of a broker."""

    def __init__(self, limits: RelayLimits) -> None:
        self.limits = limits
        self._of_source: Counter[bytes] = Counter()
        self._of_identity: Counter[PeerId] = Counter()

    @property
    def circuits(self) -> int:
        """How many circuits are granted now."""
        return self._of_identity.total()

    def reserve(self, circuit: bytes, sender: IPAddress, receiver: PeerId) -> CircuitGrant:
        """CircuitGrant a circuit that the sender asks for; the receiver has yet to join.

        Raises:
            OverQuotaError: the sender's address or the receiver has all it may have.
        """
        limit = self.limits.circuits_per_identity
        if self._of_identity[receiver] >= limit:
            raise OverQuotaError(
                f"this broker relays at most {limit} circuits at a time for one receiver, and "
                "this one has them: try again when one has ended"
            )
        source = network_of(sender)
        if self._of_source[source] >= self.limits.circuits_per_ip:
            raise OverQuotaError(
                f"this broker relays at most {self.limits.circuits_per_ip} circuits at a time for "
                "senders of one IP address, and yours has them: try again when one has ended"
            )
        self._of_source[source] += 1
        self._of_identity[receiver] += 1
        return CircuitGrant(circuit, receiver, source)

    def release(self, grant: CircuitGrant) -> None:
        """The circuit has ended, or will not be."""
        _decrement(self._of_identity, grant.receiver)
        _decrement(self._of_source, grant.source)


def network_of(address: IPAddress) -> bytes:
    """What addresses have in common that count together."""
    return address.packed if address.version == 4 else address.packed[:_IPV6_NETWORK_BYTES]


def _decrement(counter: Counter[T], key: T) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]  # or else it would grow with all who ever came


@attrs.define(eq=False, weakref_slot=False)
class Pace:
    """Keeps one circuit to its rate: a token bucket that may be overdrawn by one piece.

    Args:
        bytes_per_second: the rate.
    """

    _bytes_per_second: int
    _paid_until: float = -math.inf

    @property
    def piece(self) -> int:
        """How many bytes to carry at most before the next pause."""
        return max(1, int(self._bytes_per_second * BURST_TIME))

    def spend(self, count: int, now: float) -> float:
        """Bytes were carried; how many seconds to pause for it."""
        self._paid_until = max(self._paid_until, now - BURST_TIME)
        self._paid_until += count / self._bytes_per_second
        return max(0.0, self._paid_until - now)
