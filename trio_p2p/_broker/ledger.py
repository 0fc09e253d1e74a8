"""What the broker holds for its clients, and what ends with a connection. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable

from .._addresses import Endpoint
from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._wire.messages import CAPABILITIES, CalledBack, Message, RefusalCode, Refused
from .connection import Connection, Messages, Probes, Registration, State
from .introductions import Introductions
from .own_endpoints import OwnEndpoints
from .prober import Prober
from .quota import CircuitGrant, RelayLimits
from .registrations import Registrations
from .source_limits import DEFAULT_SOURCE_LIMITS, SourceLimits, SourceQuota
from .watches import Watches

# Seconds.
OPENING_TIME = 10.0  # from the connection until its first request: a patient client needs 3 RTT

MAX_LOCAL_ENDPOINTS = 256  # remembered to have one object for each, not for each connection


class Ledger:
    """Registrations, introductions, circuits, calls and watches of one broker.

    Args:
        token_bytes: gives so many unguessable bytes.
        round_trip: the round trip to a connection's client in microseconds, 0 if unknown.
        reads: whether a connection's client has read all that it was told, as far as is known.
        relay: how much to relay; None for nothing.
        probes: where else clients may probe; None to say nothing of that, and to call none back.
        source_limits: how much one source may ask for.
        own_endpoints: what registrations may be signed for.
    """

    def __init__(
        self,
        *,
        token_bytes: Callable[[int], bytes],
        round_trip: Callable[[Connection], int],
        reads: Callable[[Connection], bool],
        relay: RelayLimits | None = None,
        probes: Probes | None = None,
        source_limits: SourceLimits = DEFAULT_SOURCE_LIMITS,
        own_endpoints: OwnEndpoints | None = None,
    ) -> None:
        self._token_bytes = token_bytes
        self._reads = reads
        self._registrations = Registrations()
        self._own_endpoints = own_endpoints or OwnEndpoints()
        self._sources = SourceQuota(source_limits)
        self._introductions = Introductions(token_bytes, round_trip, relay, self._sources)
        self._prober = Prober(probes)
        self._watches = Watches()
        self._local_endpoints: dict[Endpoint, Endpoint] = {}
        self._capabilities = tuple(
            name for name in CAPABILITIES if name != Technique.RELAY or relay is not None
        )

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
    def circuits(self) -> int:
        """How many circuits are relayed now, or are going to be."""
        return self._introductions.circuits

    @property
    def calls(self) -> int:
        """How many clients are being called back now."""
        return self._prober.calls

    @property
    def watches(self) -> int:
        """How many connections watch how many UIDs, all in all."""
        return len(self._watches)

    def connected(self, endpoint: Endpoint, local: Endpoint, now: float) -> Connection:
        """A client has connected, from its endpoint to a local one."""
        if len(self._local_endpoints) < MAX_LOCAL_ENDPOINTS:
            local = self._local_endpoints.setdefault(local, local)
        return Connection(endpoint, local, now + OPENING_TIME)

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
        return self._lose(connection, now)

    def called_back(self, connection: Connection, result: CalledBack) -> Messages:
        """A client has been called back, at its own endpoint and nowhere else."""
        return self._close(connection, result)

    def circuit_ended(self, grant: CircuitGrant) -> None:
        """A circuit is not relayed any more."""
        self._introductions.release(grant)

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

    def _release(self, registration: Registration, last: Refused | None = None) -> Messages:
        """End one registration; the connection goes on."""
        connection = registration.connection
        connection.remove(registration)
        self._registrations.end(registration)
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
