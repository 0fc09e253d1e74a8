"""How much the broker relays, for whom, and how fast.

Relayed bytes are paid for by the broker's operator, so there are limits: on what one circuit may
carry, and on how many circuits an address or an identity may have at a time. Sans-IO: it counts
what it is told of, and time is an argument.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import attrs

from .._errors import LocalProtocolError
from .._identity.peer_id import PeerId
from .._wire.messages import MAX_COUNT, MAX_IDLE_TIME
from .paces import Pace, SharedPaces
from .parties import Holdings, Party, PartyWindows, decrement

RETRY_TIME = 5.0  # seconds after which a circuit may have ended
BYTES_TIME = 3600.0  # seconds
MAX_PARTIES = 16_384  # whose bytes are remembered

# Seconds. Peers say something well before a circuit has been idle for too long, but not every few
# seconds: that would cost more than a circuit that is kept too long.
MIN_IDLE_TIME = 10.0


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
            the side that asks for them. IPv6 addresses of the same /64 count as one, and so do all
            from which a sender of one identity comes, if it has proven that. It should be well
            below what a receiver may have, or one sender takes them all.
        circuits_per_identity: how many circuits a receiver's identity may have at a time.
        idle_time: seconds without a byte in either direction, after which a circuit is cut; at
            least 10. Peers are told, and say something before that, if they are there.
        total_bytes_per_second: how fast all circuits are together; those that have something to
            carry share it fairly. None for no limit.
        bytes_per_second_per_ip: how fast all circuits are together that one IP address, or
            identity, has asked for; None for no limit.
        bytes_per_ip: how much all circuits carry in an hour that one IP address, or identity, asks
            for. Then they are cut, and further ones refused; None for no limit.

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
    total_bytes_per_second: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_count)
    )
    bytes_per_second_per_ip: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_count)
    )
    bytes_per_ip: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_count)
    )

    @property
    def told(self) -> tuple[int | None, int | None, int]:
        """The last three fields of ``relayed``: rate, bytes, and idle time in milliseconds."""
        idle_time = min(math.floor(1000 * self.idle_time), MAX_IDLE_TIME)
        return self.bytes_per_second, self.max_bytes, idle_time


DEFAULT_LIMITS = RelayLimits()


class OverQuotaError(Exception):
    """A circuit would be one too many; its text names the limit.

    Attributes:
        retry_after: seconds after which to ask again; None if that is of no use.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@attrs.define(eq=False, weakref_slot=False)
class CircuitGrant:
    """The right to one circuit, from the request for it until its end.

    Attributes:
        circuit: the identifier of the circuit.
        receiver: the identity that it counts for.
        sender: the party that it counts for as well.
        limits: what its peers are told, and what holds for it until its end.
    """

    circuit: bytes = attrs.field(repr=False)
    receiver: PeerId
    sender: Party = attrs.field(repr=False)
    limits: RelayLimits = attrs.field(repr=False)


class RelayQuota:
    """Counts the circuits of a broker.

    Args:
        limits: how much to relay; None for nothing.

    Attributes:
        limits: the limits that hold, or held before nothing was relayed any more.
        is_open: whether circuits are granted.
    """

    def __init__(self, limits: RelayLimits | None) -> None:
        self._of_sender = Holdings()
        self._of_receiver: Counter[PeerId] = Counter()
        self._carried = PartyWindows(BYTES_TIME, MAX_PARTIES)
        self._paces = SharedPaces()
        self.limits: RelayLimits = DEFAULT_LIMITS
        self.is_open: bool = False
        self.limit_to(limits)

    @property
    def circuits(self) -> int:
        """How many circuits are granted now."""
        return self._of_receiver.total()

    def limit_to(self, limits: RelayLimits | None) -> None:
        """Keep to other limits from now on, or grant nothing more.

        Circuits that were granted before keep what their peers were told, and share with others
        what holds now; their :meth:`paces_of` are others.
        """
        self.is_open = limits is not None
        self.limits = limits or self.limits
        shared = self.limits
        self._paces.set_rates(shared.total_bytes_per_second, shared.bytes_per_second_per_ip)

    def paces_of(self, grant: CircuitGrant) -> tuple[Pace, ...]:
        """What keeps a circuit to its rates: what it shares with others, and what is its own."""
        rate = grant.limits.bytes_per_second
        shared = self._paces.of(grant.sender)
        return shared if rate is None else (*shared, Pace(rate))

    def carried(self, grant: CircuitGrant, count: int, now: float) -> None:
        """Count so many bytes that a circuit has carried."""
        if self.limits.bytes_per_ip is not None:
            self._carried.count(grant.sender, now, count)

    def left(self, grant: CircuitGrant, passed: int, now: float) -> float:
        """How many bytes a circuit may still carry, of which so many have passed."""
        most, of_sender = grant.limits.max_bytes, self._left_of(grant.sender, now)
        return of_sender if most is None else min(most - passed, of_sender)

    def spent(self, grant: CircuitGrant, passed: int) -> str:
        """Which limit lets a circuit carry nothing more, in words; so much has passed."""
        if passed == grant.limits.max_bytes:
            return f"it has carried {passed} bytes, the limit of this broker"
        most = self.limits.bytes_per_ip
        return (
            f"the sender's IP address, or its identity, has had {most} bytes relayed within an "
            "hour, the limit"
        )

    def _left_of(self, sender: Party, now: float) -> float:
        """How many bytes the circuits of a party may still carry in this hour."""
        limit = self.limits.bytes_per_ip
        return math.inf if limit is None else max(0, limit - self._carried.counted(sender, now))

    def reserve(self, circuit: bytes, sender: Party, receiver: PeerId, now: float) -> CircuitGrant:
        """Grant a circuit that the sender asks for; the receiver has yet to join.

        Raises:
            OverQuotaError: the sender or the receiver has all it may have, or nothing is relayed.
        """
        limits = self.limits
        if not self.is_open:
            raise OverQuotaError("this broker does not relay")
        if self._of_receiver[receiver] >= limits.circuits_per_identity:
            raise OverQuotaError(
                f"this broker relays at most {limits.circuits_per_identity} circuits at a time for "
                "one receiver, and this one has them: try again when one has ended",
                RETRY_TIME,
            )
        if self._of_sender.of(sender) >= limits.circuits_per_ip:
            raise OverQuotaError(
                f"this broker relays at most {limits.circuits_per_ip} circuits at a time for "
                "senders of one IP address, or identity, and yours has them: try again when one "
                "has ended",
                RETRY_TIME,
            )
        if not self._left_of(sender, now):
            assert limits.bytes_per_ip is not None
            raise OverQuotaError(
                f"this broker relays {limits.bytes_per_ip} bytes in an hour for senders of one IP "
                "address, or identity, and has for yours: try again later",
                self._carried.rest(sender, now, limits.bytes_per_ip),
            )
        self._of_sender.add(sender)
        self._of_receiver[receiver] += 1
        return CircuitGrant(circuit, receiver, sender, limits)

    def release(self, grant: CircuitGrant) -> None:
        """Take back the right to a circuit that has ended, or will not be."""
        decrement(self._of_receiver, grant.receiver)
        self._of_sender.remove(grant.sender)
