"""Who holds which UID, and for whom a lost one is kept. Sans-IO."""

from __future__ import annotations

from collections import Counter

from .._identity.certificate import public_key_of_untrusted
from .._identity.peer_id import looks_like_peer_id
from .._wire.messages import RefusalCode, Register
from .budget import NAME_BYTES, RESERVED_BYTES, RETRY_TIME as NO_ROOM_TIME, Budget, neighbourhood_of
from .connection import Connection, Name, Registration
from .limits import BrokerLimits
from .parties import decrement
from .refusals import refuse
from .shares import Shares

# How long a UID stays reserved for its key when the connection was lost. Receivers whose network or
# broker is away come back within that.
RESERVED_TIME = 300.0  # seconds
MAX_NAMES = 64  # UIDs that one connection may register at a time
MAX_RESERVED = 64  # for one source: more than one address loses at a time that is shared by many
MAX_RESERVED_IN_ALL = 16_384  # a few MiB
MAX_RESERVED_OF_NEIGHBOURS = 2048  # for the sources of an IPv4 /24 or an IPv6 /48
RETRY_TIME = 60.0  # seconds after which to ask again for one more name on a connection


class Registrations:
    """The names that are registered, and the UIDs that are reserved.

    Args:
        limits: what each network and each identity may register.
        budget: the memory that is left.

    Attributes:
        limits: the argument of this name; may be replaced at any time.
    """

    def __init__(self, limits: BrokerLimits, budget: Budget) -> None:
        self.limits: BrokerLimits = limits
        self._budget = budget
        self._of_network: Counter[bytes] = Counter()
        self._of_key: Counter[bytes] = Counter()  # a name counts once, over both versions of IP
        self._names: dict[str, Name] = {}
        # The key, and until when.
        self._reserved: Shares[bytes, str, tuple[bytes, float]] = Shares(
            MAX_RESERVED,
            MAX_RESERVED_IN_ALL,
            MAX_RESERVED_OF_NEIGHBOURS,
            neighbourhood_of,
        )

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs that are registered now."""
        return frozenset(self._names)

    @property
    def reserved(self) -> int:
        """How many UIDs are reserved, or were and are not forgotten yet."""
        return len(self._reserved)

    def holder(self, uid: str) -> Name | None:
        """What is registered under a UID."""
        return self._names.get(uid)

    def check_number(self, connection: Connection, message: Register) -> None:
        """Check that a connection may have one more registration, of this number.

        Raises:
            RefusalError: it has one of this number, or too many.
        """
        if connection.find(message.number) is not None:
            refuse(
                RefusalCode.PROTOCOL_VIOLATION,
                f"there is a registration of number {message.number} on this connection already",
            )
        if sum(1 for _ in connection.registrations) >= MAX_NAMES:
            refuse(
                RefusalCode.BUSY,
                f"a connection may register {MAX_NAMES} UIDs at a time: use another one for more",
                message.number,
                retry_after=RETRY_TIME,
            )

    def check_room(self, connection: Connection, message: Register) -> None:
        """Check that the network and the identity of a client may register one more name.

        A name that is registered already may be so again: that takes the place of what was before.

        Args:
            connection: the client's, which has proven its identity.
            message: what it registers.

        Raises:
            RefusalError: it may not.
        """
        if message.uid in self._names:
            return
        party, limit = connection.party, self.limits.registrations
        assert party.key is not None
        if max(self._of_network[party.network], self._of_key[party.key]) >= limit:
            refuse(
                RefusalCode.BUSY,
                f"this broker registers {limit} UIDs at a time for one IP address and for "
                "one identity, and yours has them: try again later",
                message.number,
                retry_after=RETRY_TIME,
            )
        if not self._budget.has_room(connection.source, NAME_BYTES):
            refuse(
                RefusalCode.BUSY,
                "this broker has no memory left for more receivers of your network: try again "
                "later",
                message.number,
                retry_after=NO_ROOM_TIME,
            )

    def check_holder(self, message: Register, now: float) -> Name | None:
        """What is registered under a UID already, by the same key.

        Raises:
            RefusalError: the UID is another key's.
        """
        key = public_key_of_untrusted(message.certificate)
        holder = self._names.get(message.uid)
        if holder is not None:
            if public_key_of_untrusted(holder.certificate) != key:
                refuse(
                    RefusalCode.UID_TAKEN,
                    "a receiver of another identity is registered under it",
                    message.number,
                )
            return holder
        reserved = self._reserved.get(message.uid)
        if reserved is not None:
            owner, until = reserved
            if owner != key and now < until:
                refuse(
                    RefusalCode.UID_TAKEN,
                    "it is reserved for a receiver of another identity, whose connection was lost: "
                    f"try again in {until - now:.0f} seconds",
                    message.number,
                )
        return None

    def begin(self, connection: Connection, message: Register) -> tuple[Name, bool]:
        """Register a name on a connection, over its version of IP, too.

        Returns:
            The name, and whether that is news to those who watch it: not if the process that
            holds it is found over the other version of IP, too, for the first time.
        """
        version = connection.ip_version
        name = self._names.get(message.uid)
        is_addition = name is not None and not name.had_both
        if name is None:
            name = Name(message.uid, connection.certificate, message.instance, message.stream)
            self._names[message.uid] = name
            assert connection.party.key is not None
            self._of_key[connection.party.key] += 1
            self._reserved.pop(message.uid)
        else:
            name.had_both = True
        registration = Registration(name, connection, message.number, connection.registration)
        connection.registration = registration
        name.put(version, registration)
        self._of_network[connection.source] += 1
        self._budget.take(connection.source, NAME_BYTES)
        return name, not is_addition

    def end(self, registration: Registration) -> None:
        """End the registration of a name over one connection."""
        name, connection = registration.name, registration.connection
        name.put(connection.ip_version, None)
        if not name.registrations:
            del self._names[name.uid]
            decrement(self._of_key, public_key_of_untrusted(name.certificate))
        decrement(self._of_network, connection.source)
        self._budget.give_back(connection.source, NAME_BYTES)

    def reserve(self, connection: Connection, now: float) -> None:
        """The connection of a receiver is lost: keep the UIDs for it that it holds by no other."""
        for registration in connection.registrations:
            if registration.name.registrations == (registration,):
                self._reserve(registration, now)

    def _reserve(self, registration: Registration, now: float) -> None:
        while (oldest := self._reserved.oldest) and oldest[1][1] <= now:
            self._reserved.pop(oldest[0])
        name = registration.name
        if looks_like_peer_id(name.uid):
            return  # such a UID cannot become another key's
        key = public_key_of_untrusted(name.certificate)
        source = registration.connection.source
        self._reserved.put(source, name.uid, (key, now + RESERVED_TIME))
        self._budget.set_shared("reserved", RESERVED_BYTES * len(self._reserved))
