"""What the broker knows and decides: registrations, their expiry, who may ask for what.

Sans-IO: messages go in, messages come out, time is an argument. All that a connection may say in
each state stands in one table, at the end of the class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from .._credentials import public_key_of_untrusted
from .._endpoint import Endpoint
from .._errors import RemoteProtocolError, Technique
from .._wire.messages import (
    CAPABILITIES,
    CHALLENGE_BYTES,
    VERSION,
    Acknowledge,
    Hello,
    HolePunched,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    RefusalCode,
    Refused,
    Register,
    Registered,
    StreamKind,
)
from .connection import Connection, Outgoing, State
from .introductions import Introductions
from .quota import Grant, OverQuotaError, RelayLimits
from .refusals import (
    RefusalError,
    check_holder,
    check_identity_untrusted,
    check_introduction,
    refuse,
)

# Seconds.
OPENING_TIME = 10.0  # from the connection until its first request: a patient client needs 3 RTT
SILENCE_TIME = 65.0  # initiation 4: two keepalives of 30 s may go astray, and 5 s
INTRODUCTION_TIME = 10.0  # steps 2 to 9: four round trips, with room for retransmitted SYNs

T = TypeVar("T", Technique, StreamKind)


class Registry:
    """Registrations and introductions of one broker.

    Args:
        token_bytes: gives so many unguessable bytes.
        round_trip: the round trip to a connection's client in microseconds, 0 if unknown.
        relay: how much to relay; None for nothing.
    """

    def __init__(
        self,
        *,
        token_bytes: Callable[[int], bytes],
        round_trip: Callable[[Connection], int],
        relay: RelayLimits | None = None,
    ) -> None:
        self._token_bytes = token_bytes
        self._receivers: dict[str, Connection] = {}
        self._introductions = Introductions(token_bytes, round_trip, relay)
        self._capabilities = tuple(
            name for name in CAPABILITIES if name != Technique.RELAY or relay is not None
        )

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs that are registered now."""
        return frozenset(self._receivers)

    @property
    def pending_introductions(self) -> int:
        """How many senders wait for a receiver's answer."""
        return len(self._introductions)

    @property
    def circuits(self) -> int:
        """How many circuits are relayed now, or are going to be."""
        return self._introductions.circuits

    def connected(self, endpoint: Endpoint, now: float) -> Connection:
        """A client has connected."""
        return Connection(endpoint, now + OPENING_TIME)

    def received(self, connection: Connection, message: Message, now: float) -> Outgoing:
        """A message came; what to send because of it.

        Afterwards every connection in :attr:`State.CLOSED` has said its last, and so has every
        one in :attr:`State.RELAYED`, whose bytes now belong to the other one of its introduction.
        """
        transition = self.TRANSITIONS.get((connection.state, type(message)))
        try:
            if transition is None:
                refuse(
                    RefusalCode.PROTOCOL_VIOLATION,
                    f"a {message.type} message is out of place here ({connection.state.value})",
                )
            return transition(self, connection, message, now)
        except RefusalError as refusal:
            if refusal.refused.number is None:
                return self._close(connection, refusal.refused)
            return [(connection, refusal.refused)]
        except RemoteProtocolError as error:
            return self.violated(connection, error)

    def violated(self, connection: Connection, error: RemoteProtocolError) -> Outgoing:
        """Something came that was no message, or not a valid one."""
        return self._close(connection, Refused(RefusalCode.PROTOCOL_VIOLATION, str(error)))

    def expired(self, connection: Connection) -> Outgoing:
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
        return self._close(connection)

    def disconnected(self, connection: Connection) -> Outgoing:
        """The connection is gone, or relayed from now on."""
        return self._close(connection)

    def circuit_ended(self, grant: Grant) -> None:
        """A circuit is not relayed any more."""
        self._introductions.release(grant)

    def _close(self, connection: Connection, last: Message | None = None) -> Outgoing:
        if connection.state is State.CLOSED:
            return []
        outgoing: Outgoing = [] if last is None else [(connection, last)]
        if connection.state is State.RECEIVER:
            del self._receivers[connection.uid]
            for introduction in self._introductions.pending_of(connection):
                outgoing += self._close(
                    introduction.sender,
                    Refused(
                        RefusalCode.RECEIVER_LOST,
                        "the receiver's registration ended during the introduction",
                        introduction.number,
                    ),
                )
        elif connection.state is State.WAITING:
            assert connection.introduction is not None
            self._introductions.end(connection.introduction)
        connection.state = State.CLOSED
        return outgoing

    # Transitions: one method for each kind of message.

    def _hello(self, connection: Connection, message: Hello, _now: float) -> Outgoing:
        if message.version != VERSION:
            refuse(
                RefusalCode.UNSUPPORTED_VERSION,
                f"this broker speaks version {VERSION} of the protocol, not {message.version}",
            )
        connection.state = State.READY
        connection.techniques = _known(Technique, message.capabilities)
        connection.streams = _known(StreamKind, message.capabilities)
        connection.challenge = self._token_bytes(CHALLENGE_BYTES)
        return [(connection, Hello(VERSION, self._capabilities, connection.challenge))]

    def _register(self, connection: Connection, message: Register, now: float) -> Outgoing:
        check_identity_untrusted(message, connection.challenge)
        outgoing: Outgoing = []
        holder = self._receivers.get(message.uid)
        if holder is not None:
            check_holder(holder, message)
            outgoing += self._close(
                holder,
                Refused(
                    RefusalCode.UID_TAKEN,
                    "the UID was registered again by the same identity elsewhere",
                ),
            )
        connection.uid = message.uid
        connection.certificate = message.certificate
        connection.challenge = b""
        connection.state = State.RECEIVER
        connection.deadline = now + SILENCE_TIME
        self._receivers[message.uid] = connection
        return [*outgoing, (connection, Registered(connection.endpoint))]

    def _keep_alive(self, connection: Connection, _message: KeepAlive, now: float) -> Outgoing:
        connection.deadline = now + SILENCE_TIME
        return []

    def _kill(self, connection: Connection, _message: Kill, _now: float) -> Outgoing:
        return self._close(connection)

    def _request(self, sender: Connection, message: IntroductionRequest, now: float) -> Outgoing:
        if message.certificate != sender.certificate:  # a kept connection's is checked once
            public_key_of_untrusted(message.certificate)
            sender.certificate = message.certificate
        sender.challenge = b""
        sender.state = State.SENDER
        sender.deadline = now + SILENCE_TIME
        receiver = self._receivers.get(message.uid)
        if receiver is None:
            refuse(
                RefusalCode.UNKNOWN_UID, "no receiver is registered under this UID", message.number
            )
        check_introduction(receiver, message)
        if message.technique == Technique.FAST:
            return self._introductions.introduce(sender, receiver, message.number)
        outgoing = self._introductions.begin(sender, receiver, message)
        sender.state = State.WAITING
        sender.deadline = now + INTRODUCTION_TIME
        return outgoing

    def _join_relay(self, connection: Connection, message: JoinRelay, _now: float) -> Outgoing:
        introduction = self._introductions.pending(message.introduction)
        sender = introduction.sender
        try:
            outgoing = self._introductions.join(introduction, connection)
        except OverQuotaError as error:
            reason = str(error)
            return [
                *self._close(connection, Refused(RefusalCode.RELAY_REFUSED, reason)),
                *self._close(
                    sender, Refused(RefusalCode.RELAY_REFUSED, reason, introduction.number)
                ),
            ]
        connection.introduction = introduction
        connection.challenge = b""
        connection.state = sender.state = State.RELAYED
        return outgoing

    def _acknowledge(self, connection: Connection, message: Acknowledge, _now: float) -> Outgoing:
        introduction = self._introductions.pending_classic(message.introduction)
        if introduction.receiver_endpoint is not None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is acknowledged already")
        introduction.receiver_endpoint = connection.endpoint
        connection.state = State.ACKNOWLEDGED
        return [(connection, self._introductions.sender_endpoint(introduction))]

    def _hole_punched(self, connection: Connection, message: HolePunched, _now: float) -> Outgoing:
        introduction = self._introductions.pending_classic(message.introduction)
        endpoint = introduction.receiver_endpoint
        if endpoint is None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is not acknowledged yet")
        self._close(connection)
        return self._close(
            introduction.sender, self._introductions.receiver_endpoint(introduction, endpoint)
        )

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
        (State.READY, JoinRelay): _join_relay,
    }


def _known(kinds: type[T], names: tuple[str, ...]) -> tuple[T, ...]:
    """Those of a kind that have been named; one object for all connections that named the same."""
    found = tuple(kind for kind in kinds if kind in names)
    return _KNOWN.setdefault(found, found)


_KNOWN: dict[tuple[Any, ...], tuple[Any, ...]] = {}
