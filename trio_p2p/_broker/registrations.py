"""Who holds which UID, and for whom a lost one is kept. Sans-IO."""

from __future__ import annotations

from .._identity.certificate import public_key_of_untrusted
from .._identity.peer_id import looks_like_peer_id
from .._wire.messages import RefusalCode, Register, RegisterIPv6
from .connection import Connection
from .quota import network_of
from .refusals import refuse
from .shares import Shares

# How long a UID stays reserved for its key when the connection was lost. Receivers whose network or
# broker is away come back within that.
RESERVED_TIME = 300.0  # seconds
MAX_RESERVED = 64  # for one source: more than one address loses at a time that is shared by many
MAX_RESERVED_IN_ALL = 16_384  # a few MiB


class Registrations:
    """The registered UIDs, and those that are reserved."""

    def __init__(self) -> None:
        self._receivers: dict[str, Connection] = {}
        # The key, and until when.
        self._reserved: Shares[str, tuple[bytes, float]] = Shares(MAX_RESERVED, MAX_RESERVED_IN_ALL)

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs that are registered now."""
        return frozenset(self._receivers)

    @property
    def reserved(self) -> int:
        """How many UIDs are reserved, or were and are not forgotten yet."""
        return len(self._reserved)

    def holder(self, uid: str) -> Connection | None:
        """The receiver that is registered under a UID."""
        return self._receivers.get(uid)

    def check_holder(self, message: Register | RegisterIPv6, now: float) -> Connection | None:
        """The receiver that is registered under a UID already, by the same key.

        Raises:
            RefusalError: the UID is another key's.
        """
        key = public_key_of_untrusted(message.certificate)
        holder = self._receivers.get(message.uid)
        if holder is not None:
            if public_key_of_untrusted(holder.certificate) != key:
                refuse(
                    RefusalCode.UID_TAKEN, "a receiver of another identity is registered under it"
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
                )
        return None

    def begin(self, receiver: Connection) -> None:
        """A receiver is registered under its UID from now on."""
        self._receivers[receiver.uid] = receiver
        self._reserved.pop(receiver.uid)

    def end(self, receiver: Connection) -> None:
        """A receiver is not registered any more."""
        del self._receivers[receiver.uid]

    def reserve(self, receiver: Connection, now: float) -> None:
        """The connection of a receiver is lost: keep its UID for it."""
        while (oldest := self._reserved.oldest) and oldest[1][1] <= now:
            self._reserved.pop(oldest[0])
        if looks_like_peer_id(receiver.uid):
            return  # such a UID cannot become another key's
        key = public_key_of_untrusted(receiver.certificate)
        source = network_of(receiver.endpoint.address)
        self._reserved.put(source, receiver.uid, (key, now + RESERVED_TIME))
