"""What the broker remembers of connections, their registrations, and introductions. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import attrs

from .._addresses import Endpoint
from .._attempt import Technique
from .._identity.access_token import AccessToken
from .._identity.certificate import public_key_of_untrusted
from .._wire.messages import Message, Register, StreamKind
from .._wire.offer import NO_OFFER, Offer
from .parties import Party, network_of
from .quota import CircuitGrant


class State(enum.Enum):
    """Where a connection stands."""

    GREETING = "connected, no hello yet"
    READY = "greeted, no request yet"
    CONTROL = "a control connection"
    PROBED = "told its endpoint"
    CALLED = "being called back"
    ACKNOWLEDGED = "to be closed by the receiver (step 5)"
    WAITING = "waiting for the receiver to answer"
    RELAYED = "relayed to the other peer"
    CLOSED = "to be closed"


def _party_of(connection: Connection) -> Party:
    """The party of a client that has proven nothing yet."""
    return Party(network_of(connection.endpoint.address))


# There are one connection, one registration and one name for each idle receiver, of thousands: they
# hold little.
@attrs.define(eq=False, weakref_slot=False)
class Connection:
    """One client's connection, as the registry sees it.

    Attributes:
        endpoint: the client's reflexive endpoint.
        local: the broker's endpoint that the client has connected to, while it may register.
        deadline: when to call :meth:`Registry.expired`; moves with every message.
        state: where it stands.
        techniques: what the client can be introduced by.
        challenge: what the client has to sign to register, or is to hear when it is called back,
            while it still may.
        registration: the newest of those on this connection. To be registered is no state.
        certificate: of the identity that it has registered with, or asked as, last.
        introduction: what it waits for; of a relayed one, what it was relayed by.
        offer: how else it can be reached, as far as it has told.
        is_counted: whether it counts among those of its source.
        token: what it may do here, by what it has greeted with.
        lacks_tls: whether it has come without TLS to a broker that speaks it.
        proven: the certificate of the identity that it has proven to have last; empty if none.
        party: who it is, as far as limits go.
    """

    endpoint: Endpoint
    local: Endpoint | None
    deadline: float
    state: State = State.GREETING
    techniques: tuple[Technique, ...] = ()
    challenge: bytes = attrs.field(default=b"", repr=False)
    registration: Registration | None = attrs.field(default=None, repr=False)
    certificate: bytes = attrs.field(default=b"", repr=False)
    introduction: Introduction | None = attrs.field(default=None, repr=False)
    offer: Offer = NO_OFFER
    is_counted: bool = False
    token: AccessToken | None = attrs.field(default=None, repr=False)
    lacks_tls: bool = False
    proven: bytes = attrs.field(default=b"", repr=False)
    party: Party = attrs.field(default=attrs.Factory(_party_of, takes_self=True), repr=False)

    def prove(self, certificate: bytes) -> None:
        """Note that the client has proven to hold the key of a certificate."""
        if certificate != self.proven:  # else one object for all of its registrations
            self.proven = certificate
            self.party = Party(self.party.network, public_key_of_untrusted(certificate))

    @property
    def source(self) -> bytes:
        """What limits count the connection by."""
        return self.party.network

    @property
    def ip_version(self) -> int:
        """4 or 6, by which the client has come."""
        return self.endpoint.address.version

    @property
    def is_closed(self) -> bool:
        """Whether the registry is done with it."""
        return self.state is State.CLOSED

    @property
    def registrations(self) -> Iterator[Registration]:
        """All registrations on this connection, the newest first."""
        registration = self.registration
        while registration is not None:
            yield registration
            registration = registration.older

    def find(self, number: int) -> Registration | None:
        """The registration of a number; None if there is none."""
        return next((each for each in self.registrations if each.number == number), None)

    def remove(self, registration: Registration) -> None:
        """Forget one registration on this connection."""
        if registration is self.registration:
            self.registration = registration.older
            return
        newer = next(each for each in self.registrations if each.older is registration)
        newer.older = registration.older


@attrs.define(eq=False, weakref_slot=False)
class Registration:
    """One name on one connection.

    Attributes:
        name: what is registered.
        connection: by which the receiver is found.
        number: what the client calls the registration.
        older: the one before it on the connection. A chain takes less memory than any container.
    """

    name: Name
    connection: Connection
    number: int
    older: Registration | None = attrs.field(default=None, repr=False)


@attrs.define(eq=False, weakref_slot=False)
class Name:
    """A UID that one process of an identity holds, over one or both versions of IP.

    Attributes:
        uid: the UID.
        certificate: of the identity.
        instance: what that process has drawn.
        stream: what senders make of a connection to it.
        ipv4: the registration that came over IPv4, while there is one.
        ipv6: the registration that came over IPv6, while there is one.
        had_both: whether there have been both at one time.
    """

    uid: str
    certificate: bytes = attrs.field(repr=False)
    instance: bytes = attrs.field(repr=False)
    stream: StreamKind
    ipv4: Registration | None = attrs.field(default=None, repr=False)
    ipv6: Registration | None = attrs.field(default=None, repr=False)
    had_both: bool = False

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """All that there are, IPv4 first."""
        return tuple(each for each in (self.ipv4, self.ipv6) if each is not None)

    def over(self, ip_version: int) -> Registration | None:
        """The registration by a version of IP; None if there is none."""
        return self.ipv4 if ip_version == 4 else self.ipv6

    def put(self, ip_version: int, registration: Registration | None) -> None:
        """Set the registration by a version of IP, or that there is none."""
        if ip_version == 4:
            self.ipv4 = registration
        else:
            self.ipv6 = registration

    def is_continued_by(self, message: Register) -> bool:
        """Whether the process that holds the name, by the same key, says this."""
        return self.instance == message.instance and self.stream is message.stream


@attrs.define(eq=False)
class Introduction:
    """An introduction that takes several steps: a classic one, or a relayed one.

    Attributes:
        identifier: what the receiver answers with.
        sender: who asked; it waits.
        receiver: the registration that the receiver was asked over.
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
    receiver: Registration
    number: int
    nonce: bytes = attrs.field(default=b"", repr=False)
    receiver_endpoint: Endpoint | None = None
    offer: Offer = NO_OFFER
    search: bytes | None = attrs.field(default=None, repr=False)
    proof: bytes | None = attrs.field(default=None, repr=False)
    receiver_offer: Offer = NO_OFFER
    grant: CircuitGrant | None = None


Messages: TypeAlias = list[tuple[Connection, Message]]


@attrs.define
class Probes:
    """Where a broker answers probes, besides where it was found.

    Attributes:
        ports: for IPv4 and IPv6, the other port of the same address.
        endpoints: with other addresses; may be replaced at any time.
    """

    ports: Mapping[int, int]
    endpoints: tuple[Endpoint, ...] = ()


def known_techniques(names: tuple[str, ...]) -> tuple[Technique, ...]:
    """The techniques that are named; one object for all connections that name the same."""
    found = tuple(each for each in Technique if each in names)
    return _KNOWN.setdefault(found, found)


_KNOWN: dict[tuple[Technique, ...], tuple[Technique, ...]] = {}
