"""What the broker remembers of a client's connection, and of an introduction in progress. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import attrs

from .._addresses import Endpoint
from .._attempt import Technique
from .._wire.messages import Message, StreamKind
from .._wire.offer import NO_OFFER, Offer
from .quota import Grant

T = TypeVar("T", Technique, StreamKind)


class State(enum.Enum):
    """Where a connection stands."""

    GREETING = "connected, no hello yet"
    READY = "greeted, no request yet"
    RECEIVER = "registered"
    SENDER = "asking for receivers"
    PROBED = "told its endpoint"
    CALLED = "being called back"
    ACKNOWLEDGED = "to be closed by the receiver (step 5)"
    WAITING = "waiting for the receiver to answer"
    RELAYED = "relayed to the other peer"
    CLOSED = "to be closed"


# There is one for each idle receiver, of thousands: it holds little.
@attrs.define(eq=False, weakref_slot=False)
class Connection:
    """One client's connection, as the registry sees it.

    Attributes:
        endpoint: the client's reflexive endpoint.
        local: the broker's endpoint that the client has connected to, while it may register.
        deadline: when to call :meth:`Registry.expired`; moves with every message.
        state: where it stands.
        techniques: what the client can be introduced by.
        streams: the kinds of stream that the client takes.
        challenge: what the client has to sign to register, or is to hear when it is called back,
            while it still may.
        uid: the UID that it holds.
        certificate: of the identity that it has registered with, or asked as.
        introduction: what it waits for; of a relayed one, what it was relayed by.
        offer: how else it can be reached, as far as it has told.
        ipv6: where it was seen over IPv6, too, if it has registered over IPv4.
        ipv6_until: when to forget that.
    """

    endpoint: Endpoint
    local: Endpoint | None
    deadline: float
    state: State = State.GREETING
    techniques: tuple[Technique, ...] = ()
    streams: tuple[StreamKind, ...] = ()
    challenge: bytes = attrs.field(default=b"", repr=False)
    uid: str = ""
    certificate: bytes = attrs.field(default=b"", repr=False)
    introduction: Introduction | None = attrs.field(default=None, repr=False)
    offer: Offer = NO_OFFER
    ipv6: Endpoint | None = None
    ipv6_until: float = 0.0

    def reach(self, version: int, now: float) -> tuple[Endpoint, Offer] | None:
        """Where peers find it by a version of IP, and how else; None if they do not."""
        if self.endpoint.address.version == version:
            return self.endpoint, self.offer
        if self.ipv6 is not None and version == 6 and now < self.ipv6_until:
            return self.ipv6, NO_OFFER  # the offer is about the IPv4 endpoint
        return None

    @property
    def is_closed(self) -> bool:
        """Whether the registry is done with it."""
        return self.state is State.CLOSED


@attrs.define(eq=False)
class Introduction:
    """An introduction that takes several steps: a classic one, or a relayed one.

    Attributes:
        identifier: what the receiver answers with.
        sender: who asked; it waits.
        receiver: the registration that was asked for.
        number: of the sender's request.
        nonce: of a classic one, for the peers.
        receiver_endpoint: of a classic one, from step 3 on.
        offer: of a classic one, the sender's.
        search: of a classic one, what the sender wants it for.
        proof: of a classic one, the sender's signature.
        receiver_offer: of a classic one, from step 3 on.
        grant: of a relayed one, the right to its circuit.
    """

    identifier: bytes = attrs.field(repr=False)
    sender: Connection
    receiver: Connection
    number: int
    nonce: bytes = attrs.field(default=b"", repr=False)
    receiver_endpoint: Endpoint | None = None
    offer: Offer = NO_OFFER
    search: bytes | None = attrs.field(default=None, repr=False)
    proof: bytes | None = attrs.field(default=None, repr=False)
    receiver_offer: Offer = NO_OFFER
    grant: Grant | None = None


Outgoing: TypeAlias = list[tuple[Connection, Message]]


@attrs.frozen
class Probes:
    """Where a broker answers probes, besides where it was found.

    Attributes:
        ports: for IPv4 and IPv6, the other port of the same address.
        endpoints: with other addresses.
    """

    ports: Mapping[int, int]
    endpoints: tuple[Endpoint, ...] = ()


def named(kinds: type[T], names: tuple[str, ...]) -> tuple[T, ...]:
    """Those of a kind that have been named; one object for all connections that named the same."""
    found = tuple(kind for kind in kinds if kind in names)
    return _NAMED.setdefault(found, found)


_NAMED: dict[tuple[Any, ...], tuple[Any, ...]] = {}
