"""What the broker knows and decides: registrations, their expiry, introductions.

Sans-IO: messages go in, messages come out, time is an argument. All that a connection may say in
each state stands in one table, at the end of the class.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable
from typing import ClassVar, NoReturn, TypeAlias

import attrs

from .._endpoint import Endpoint
from .._errors import RemoteProtocolError, Technique
from .._wire.messages import (
    CAPABILITIES,
    ID_BYTES,
    MAX_ROUND_TRIP,
    NONCE_BYTES,
    VERSION,
    Acknowledge,
    ConnectionRequest,
    Hello,
    HolePunched,
    IntroductionRequest,
    KeepAlive,
    Kill,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Register,
    Registered,
    SenderEndpoint,
)

# Seconds.
OPENING_TIME = 10.0  # from the connection until its first request: a patient client needs 3 RTT
SILENCE_TIME = 65.0  # initiation 4: two keepalives of 30 s may go astray, and 5 s
INTRODUCTION_TIME = 10.0  # steps 2 to 9: four round trips, with room for retransmitted SYNs


class State(enum.Enum):
    """Where a connection stands."""

    GREETING = "connected, no hello yet"
    READY = "greeted, no request yet"
    RECEIVER = "registered"
    SENDER = "asking for receivers"
    ACKNOWLEDGED = "to be closed by the receiver (step 5)"
    WAITING = "waiting for a classic introduction"
    CLOSED = "to be closed"


@attrs.define(eq=False)
class Connection:
    """One client's connection, as the registry sees it.

    Attributes:
        endpoint: the client's reflexive endpoint.
        deadline: when to call :meth:`Registry.expired`; moves with every message.
    """

    endpoint: Endpoint
    deadline: float
    state: State = State.GREETING
    techniques: tuple[Technique, ...] = ()
    uid: str = ""
    resume: bytes = attrs.field(default=b"", repr=False)
    waits_for: bytes = attrs.field(default=b"", repr=False)

    @property
    def is_closed(self) -> bool:
        """Whether the registry is done with it."""
        return self.state is State.CLOSED


@attrs.define(eq=False)
class _Introduction:
    """A classic introduction between steps 2 and 10."""

    sender: Connection
    receiver: Connection
    number: int
    nonce: bytes = attrs.field(repr=False)
    receiver_endpoint: Endpoint | None = None


Outgoing: TypeAlias = list[tuple[Connection, Message]]


class RefusalError(Exception):
    """Carries the refusal out of a transition."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


class Registry:
    """Registrations and introductions of one broker.

    Args:
        token_bytes: gives so many unguessable bytes.
        round_trip: the round trip to a connection's client in microseconds, 0 if unknown.
    """

    def __init__(
        self,
        *,
        token_bytes: Callable[[int], bytes],
        round_trip: Callable[[Connection], int],
    ) -> None:
        self._token_bytes = token_bytes
        self._round_trip = round_trip
        self._receivers: dict[str, Connection] = {}
        self._introductions: dict[bytes, _Introduction] = {}

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs that are registered now."""
        return frozenset(self._receivers)

    @property
    def pending_introductions(self) -> int:
        """How many classic introductions are between steps 2 and 10."""
        return len(self._introductions)

    def connected(self, endpoint: Endpoint, now: float) -> Connection:
        """A client has connected."""
        return Connection(endpoint, now + OPENING_TIME)

    def received(self, connection: Connection, message: Message, now: float) -> Outgoing:
        """A message came; what to send because of it.

        Afterwards every connection in :attr:`State.CLOSED` has said its last.
        """
        transition = self.TRANSITIONS.get((connection.state, type(message)))
        try:
            if transition is None:
                _refuse(
                    RefusalCode.PROTOCOL_VIOLATION,
                    f"a {message.type} message is out of place here ({connection.state.value})",
                )
            return transition(self, connection, message, now)
        except RefusalError as refusal:
            if refusal.refused.number is None:
                return self._close(connection, refusal.refused)
            return [(connection, refusal.refused)]

    def violated(self, connection: Connection, error: RemoteProtocolError) -> Outgoing:
        """Something came that was no message."""
        return self._close(connection, Refused(RefusalCode.PROTOCOL_VIOLATION, str(error)))

    def expired(self, connection: Connection) -> Outgoing:
        """The connection's deadline has passed."""
        if connection.state is State.WAITING:
            introduction = self._introductions[connection.waits_for]
            return self._close(
                connection,
                Refused(
                    RefusalCode.RECEIVER_SILENT,
                    "the receiver did not answer the connection request in time",
                    introduction.number,
                ),
            )
        return self._close(connection)

    def disconnected(self, connection: Connection) -> Outgoing:
        """The connection is gone."""
        return self._close(connection)

    def _close(self, connection: Connection, last: Message | None = None) -> Outgoing:
        if connection.state is State.CLOSED:
            return []
        outgoing: Outgoing = [] if last is None else [(connection, last)]
        if connection.state is State.RECEIVER:
            del self._receivers[connection.uid]
            for introduction in list(self._introductions.values()):
                if introduction.receiver is connection:
                    outgoing += self._close(
                        introduction.sender,
                        Refused(
                            RefusalCode.RECEIVER_LOST,
                            "the receiver's registration ended during the introduction",
                            introduction.number,
                        ),
                    )
        elif connection.state is State.WAITING:
            del self._introductions[connection.waits_for]
        connection.state = State.CLOSED
        return outgoing

    # Transitions: one method for each kind of message.

    def _hello(self, connection: Connection, message: Hello, _now: float) -> Outgoing:
        if message.version != VERSION:
            _refuse(
                RefusalCode.UNSUPPORTED_VERSION,
                f"this broker speaks version {VERSION} of the protocol, not {message.version}",
            )
        connection.state = State.READY
        connection.techniques = tuple(t for t in Technique if t in message.capabilities)
        return [(connection, Hello(VERSION, CAPABILITIES))]

    def _register(self, connection: Connection, message: Register, now: float) -> Outgoing:
        outgoing: Outgoing = []
        holder = self._receivers.get(message.uid)
        if holder is not None:
            if message.resume is None or not hmac.compare_digest(message.resume, holder.resume):
                _refuse(RefusalCode.UID_TAKEN, "another receiver is registered under this UID")
            outgoing += self._close(
                holder,
                Refused(RefusalCode.UID_TAKEN, "the receiver resumed on another connection"),
            )
        connection.uid = message.uid
        connection.resume = self._token_bytes(ID_BYTES)
        connection.state = State.RECEIVER
        connection.deadline = now + SILENCE_TIME
        self._receivers[message.uid] = connection
        return [*outgoing, (connection, Registered(connection.endpoint, connection.resume))]

    def _keep_alive(self, connection: Connection, _message: KeepAlive, now: float) -> Outgoing:
        connection.deadline = now + SILENCE_TIME
        return []

    def _kill(self, connection: Connection, _message: Kill, _now: float) -> Outgoing:
        return self._close(connection)

    def _request(self, sender: Connection, message: IntroductionRequest, now: float) -> Outgoing:
        sender.state = State.SENDER
        sender.deadline = now + SILENCE_TIME
        receiver = self._receivers.get(message.uid)
        if receiver is None:
            _refuse(
                RefusalCode.UNKNOWN_UID, "no receiver is registered under this UID", message.number
            )
        if message.technique not in receiver.techniques:
            _refuse(
                RefusalCode.UNSUPPORTED_TECHNIQUE,
                "the receiver cannot be introduced by this technique, only by "
                f"{' or '.join(receiver.techniques) or 'none that this broker knows'}",
                message.number,
            )
        nonce = self._token_bytes(NONCE_BYTES)
        if message.technique == Technique.FAST:
            # The receiver first: its hole must be open when the sender's SYN arrives.
            round_trip = self._round_trip_between(sender, receiver)
            return [
                (receiver, SenderEndpoint(sender.endpoint, nonce, round_trip)),
                (sender, ReceiverEndpoint(message.number, receiver.endpoint, nonce, round_trip)),
            ]
        identifier = self._token_bytes(ID_BYTES)
        self._introductions[identifier] = _Introduction(sender, receiver, message.number, nonce)
        sender.state = State.WAITING
        sender.waits_for = identifier
        sender.deadline = now + INTRODUCTION_TIME
        return [(receiver, ConnectionRequest(identifier))]

    def _acknowledge(self, connection: Connection, message: Acknowledge, _now: float) -> Outgoing:
        introduction = self._pending(message.introduction)
        if introduction.receiver_endpoint is not None:
            _refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is acknowledged already")
        introduction.receiver_endpoint = connection.endpoint
        connection.state = State.ACKNOWLEDGED
        return [
            (
                connection,
                SenderEndpoint(
                    introduction.sender.endpoint,
                    introduction.nonce,
                    self._round_trip_between(introduction.sender, introduction.receiver),
                ),
            )
        ]

    def _hole_punched(self, connection: Connection, message: HolePunched, _now: float) -> Outgoing:
        introduction = self._pending(message.introduction)
        if introduction.receiver_endpoint is None:
            _refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is not acknowledged yet")
        self._close(connection)
        return self._close(
            introduction.sender,
            ReceiverEndpoint(
                introduction.number,
                introduction.receiver_endpoint,
                introduction.nonce,
                self._round_trip_between(introduction.sender, introduction.receiver),
            ),
        )

    def _pending(self, identifier: bytes) -> _Introduction:
        introduction = self._introductions.get(identifier)
        if introduction is None:
            _refuse(RefusalCode.PROTOCOL_VIOLATION, "there is no such introduction, or no more")
        return introduction

    def _round_trip_between(self, sender: Connection, receiver: Connection) -> int:
        """An upper bound, by the triangle inequality."""
        return min(self._round_trip(sender) + self._round_trip(receiver), MAX_ROUND_TRIP)

    TRANSITIONS: ClassVar[dict[tuple[State, type[Message]], Callable[..., Outgoing]]] = {
        (State.GREETING, Hello): _hello,
        (State.READY, Register): _register,
        (State.RECEIVER, KeepAlive): _keep_alive,
        (State.RECEIVER, Kill): _kill,
        (State.READY, IntroductionRequest): _request,
        (State.SENDER, IntroductionRequest): _request,
        (State.READY, KeepAlive): _keep_alive,
        (State.SENDER, KeepAlive): _keep_alive,
        (State.READY, Acknowledge): _acknowledge,
        (State.READY, HolePunched): _hole_punched,
    }


def _refuse(code: RefusalCode, reason: str, number: int | None = None) -> NoReturn:
    raise RefusalError(Refused(code, reason, number))
