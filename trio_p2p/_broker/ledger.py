"""What the broker holds for its clients, and what ends with a connection. Sans-IO."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from .._addresses import Endpoint
from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._wire.messages import (
    CAPABILITIES,
    CalledBack,
    Draining,
    Message,
    RefusalCode,
    Refused,
    Register,
)
from .._wire.offer import NO_OFFER, Offer
from .admission import Admission
from .budget import CANDIDATE_BYTES, Budget
from .connection import Connection, Messages, Name, Probes, Registration, State
from .farewell import Farewell
from .introductions import Introductions
from .limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from .observer import Observer
from .own_endpoints import OwnEndpoints
from .prober import Prober
from .quota import CircuitGrant, RelayLimits, RelayQuota
from .registrations import Registrations
from .source_limits import SourceQuota
from .watches import Watches

# Seconds.
OPENING_TIME = 10.0  # from the connection until its first request: a patient client needs 3 RTT

_WITHOUT_RELAY = tuple(name for name in CAPABILITIES if name != Technique.RELAY)


def _no_calendar() -> float:
    """When a broker that knows of no token asks: never."""
    return math.inf


class Ledger:
    """Registrations, introductions, circuits, calls and watches of one broker.

    Args:
        token_bytes: gives so many unguessable bytes.
        round_trip: to a connection's client and back in microseconds, at a time; 0 if unknown.
        reads: whether a connection's client has read all that it was told, as far as is known.
        relay: how much to relay; None for nothing.
        probes: where else clients may probe; None to say nothing of that, and to call none back.
        limits: how much one party may ask for.
        own_endpoints: what registrations may be signed for.
        observer: is told of what happens.
        admission: decides who may do what.
    """

    def __init__(
        self,
        *,
        token_bytes: Callable[[int], bytes],
        round_trip: Callable[[Connection, float], int],
        reads: Callable[[Connection], bool],
        relay: RelayLimits | None = None,
        probes: Probes | None = None,
        limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
        own_endpoints: OwnEndpoints | None = None,
        observer: Observer | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._token_bytes = token_bytes
        self._reads = reads
        self._observer = observer or Observer()
        self._budget = Budget(limits.memory)
        self._registrations = Registrations(limits, self._budget)
        self._own_endpoints = own_endpoints or OwnEndpoints()
        self._admission = admission or Admission(_no_calendar)
        self._sources = SourceQuota(limits, self._budget)
        self._introductions = Introductions(token_bytes, round_trip, relay, self._sources)
        self._prober = Prober(probes, limits)
        self._watches = Watches(limits, self._budget)
        self._farewell = Farewell()

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs that are registered now."""
        return self._registrations.uids

    @property
    def reserved(self) -> int:
        """How many UIDs are kept for the keys of receivers that were lost."""
        return self._registrations.reserved

    @property
    def pending_introductions(self) -> int:
        """How many senders wait for a receiver's answer."""
        return len(self._introductions)

    @property
    def held_bytes(self) -> int:
        """How much memory clients take, as far as it is counted."""
        return self._budget.held

    @property
    def relay_quota(self) -> RelayQuota:
        """Counts what is relayed."""
        return self._introductions.quota

    @property
    def circuits(self) -> int:
        """How many circuits are relayed now, or are going to be."""
        return self._introductions.quota.circuits

    @property
    def calls(self) -> int:
        """How many clients are being called back now."""
        return self._prober.calls

    @property
    def watches(self) -> int:
        """How many connections watch how many UIDs, all in all."""
        return len(self._watches)

    @property
    def is_draining(self) -> bool:
        """Whether the broker goes away."""
        return self._farewell.notice is not None

    def is_settled(self, now: float) -> bool:
        """Whether no peers are about to connect to each other that were introduced before."""
        return self._farewell.is_settled(now)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What clients can be introduced by."""
        is_open = self._introductions.quota.is_open
        return CAPABILITIES if is_open else _WITHOUT_RELAY

    def limit_to(self, limits: BrokerLimits, relay: RelayLimits | None) -> None:
        """Keep to other limits from now on; what clients have already stays theirs."""
        self._budget.total = limits.memory
        for each in (self._registrations, self._prober, self._watches):
            each.limits = limits
        self._sources.limit_to(limits)
        self._introductions.quota.limit_to(relay)

    def drain(self, connections: Iterable[Connection], notice: Draining) -> Messages:
        """Begin nothing more; what to tell clients.

        Args:
            connections: all that there are.
            notice: what those are told that are control connections, or become one.
        """
        self._farewell.notice = notice
        return [(each, notice) for each in connections if each.state is State.CONTROL]

    def connected(self, endpoint: Endpoint, local: Endpoint, now: float) -> Connection:
        """A client has connected, from its endpoint to a local one.

        Raises:
            RefusalError: there are too many, or too many of its source.
        """
        connection = Connection(endpoint, local, now + OPENING_TIME, is_counted=True)
        self._sources.connected(connection.source, now)
        return connection

    def violated(self, connection: Connection, error: RemoteProtocolError, now: float) -> Messages:
        """Something came that was no message, or not a valid one."""
        return self._lose(connection, now, Refused(RefusalCode.PROTOCOL_VIOLATION, str(error)))

    def expired(self, connection: Connection, now: float) -> Messages:
        """The connection's deadline has passed."""
        if connection.state is State.WAITING:
            assert connection.introduction is not None
            return self._close(
                connection,
                Refused(
                    RefusalCode.RECEIVER_SILENT,
                    "the receiver did not answer the connection request in time",
                    connection.introduction.number,
                ),
            )
        return self._lose(connection, now)

    def disconnected(self, connection: Connection, now: float) -> Messages:
        """The connection is gone, or relayed from now on."""
        if connection.is_counted:
            connection.is_counted = False
            self._sources.disconnected(connection.source)
            self._hold_offer(connection, NO_OFFER)
        return self._lose(connection, now)

    def called_back(self, connection: Connection, result: CalledBack) -> Messages:
        """A client has been called back, at its own endpoint and nowhere else."""
        return self._close(connection, result)

    def circuit_ended(self, grant: CircuitGrant) -> None:
        """A circuit is not relayed any more."""
        self._introductions.quota.release(grant)

    def _hold_offer(self, connection: Connection, offer: Offer) -> None:
        """Remember the offer of a connection, in the place of the last one."""
        self._budget.give_back(connection.source, _size_of(connection.offer))
        self._budget.take(connection.source, _size_of(offer))
        connection.offer = offer

    def _lose(self, connection: Connection, now: float, last: Message | None = None) -> Messages:
        """End a connection whose client has not asked for that: it may come back."""
        self._registrations.reserve(connection, now)
        return self._close(connection, last)

    def _close(self, connection: Connection, last: Message | None = None) -> Messages:
        if connection.state is State.CLOSED:
            return []
        outgoing: Messages = [] if last is None else [(connection, last)]
        if connection.state is State.CONTROL:
            while connection.registration is not None:
                outgoing += self._release(connection.registration)
            self._watches.end(connection)
        elif connection.state is State.WAITING:
            assert connection.introduction is not None
            self._introductions.end(connection.introduction)
        elif connection.state is State.CALLED:
            self._prober.called_back()
        connection.state = State.CLOSED
        return outgoing

    def _displace(self, holder: Name, newer: Connection, message: Register) -> Messages:
        """End the registrations of a name that its identity registers elsewhere now."""
        outgoing: Messages = []
        for old in holder.registrations:
            is_kept = old.connection.ip_version != newer.ip_version
            if not is_kept or not holder.is_continued_by(message):
                refused = Refused(
                    RefusalCode.UID_TAKEN,
                    "the UID was registered again by the same identity elsewhere",
                    old.number,
                )
                outgoing += self._release(old, refused)
        return outgoing

    def _release(self, registration: Registration, last: Refused | None = None) -> Messages:
        """End one registration; the connection goes on."""
        connection = registration.connection
        connection.remove(registration)
        self._registrations.end(registration)
        if not registration.name.registrations:
            self._observer.unregistered(registration.name.uid)
        outgoing: Messages = [] if last is None else [(connection, last)]
        for introduction in self._introductions.pending_of(registration):
            outgoing += self._close(
                introduction.sender,
                Refused(
                    RefusalCode.RECEIVER_LOST,
                    "the receiver's registration ended during the introduction",
                    introduction.number,
                ),
            )
        self._introductions.lost(registration)
        return outgoing


def _size_of(offer: Offer) -> int:
    return CANDIDATE_BYTES * len(offer.candidates)
