"""What the broker knows and decides: registrations, their expiry, introductions.

Sans-IO: messages go in, messages come out, time is an argument. All that a connection may say in
each state stands in one table, at the end of the class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar

from .._credentials import (
    is_registration_proven_untrusted,
    peer_id_of_untrusted,
    public_key_of_untrusted,
)
from .._endpoint import Endpoint
from .._errors import RemoteProtocolError, Technique
from .._peer_id import looks_like_peer_id
from .._wire.messages import (
    CAPABILITIES,
    CHALLENGE_BYTES,
    ID_BYTES,
    MAX_ROUND_TRIP,
    NONCE_BYTES,
    VERSION,
    Acknowledge,
    ConnectionRequest,
    Hello,
    HolePunched,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Register,
    Registered,
    Relayed,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
)
from .connection import Connection, Introduction, Outgoing, State
from .quota import Grant, OverQuotaError, RelayLimits, RelayQuota

# Seconds.
OPENING_TIME = 10.0  # from the connection until its first request: a patient client needs 3 RTT
SILENCE_TIME = 65.0  # initiation 4: two keepalives of 30 s may go astray, and 5 s
INTRODUCTION_TIME = 10.0  # steps 2 to 9: four round trips, with room for retransmitted SYNs

T = TypeVar("T", Technique, StreamKind)


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
        self._round_trip = round_trip
        self._receivers: dict[str, Connection] = {}
        self._introductions: dict[bytes, Introduction] = {}
        self._quota = None if relay is None else RelayQuota(relay)
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
        return 0 if self._quota is None else self._quota.circuits

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
                _refuse(
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
        assert self._quota is not None
        self._quota.release(grant)

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
            assert connection.introduction is not None
            del self._introductions[connection.introduction.identifier]
            if connection.introduction.grant is not None:
                self.circuit_ended(connection.introduction.grant)
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
        connection.techniques = _known(Technique, message.capabilities)
        connection.streams = _known(StreamKind, message.capabilities)
        connection.challenge = self._token_bytes(CHALLENGE_BYTES)
        return [(connection, Hello(VERSION, self._capabilities, connection.challenge))]

    def _register(self, connection: Connection, message: Register, now: float) -> Outgoing:
        if not is_registration_proven_untrusted(
            message.certificate, message.signature, connection.challenge, message.uid
        ):
            _refuse(
                RefusalCode.IDENTITY_NOT_PROVEN,
                "the signature is not that of the certificate's key over the UID and the "
                "challenge of this connection",
            )
        if looks_like_peer_id(message.uid) and message.uid != str(
            peer_id_of_untrusted(message.certificate)
        ):
            _refuse(
                RefusalCode.IDENTITY_NOT_PROVEN,
                "this UID is the peer id of another identity: register your own, or another name",
            )
        outgoing: Outgoing = []
        holder = self._receivers.get(message.uid)
        if holder is not None:
            if not _is_same_identity(holder.certificate, message.certificate):
                _refuse(
                    RefusalCode.UID_TAKEN, "a receiver of another identity is registered under it"
                )
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
        receiver = self._receiver_for(message)
        if message.technique == Technique.FAST:
            nonce = self._token_bytes(NONCE_BYTES)
            round_trip = self._round_trip_between(sender, receiver)
            # The receiver first: its hole must be open when the sender's SYN arrives.
            return [
                (
                    receiver,
                    SenderEndpoint(sender.endpoint, nonce, message.certificate, round_trip),
                ),
                (
                    sender,
                    ReceiverEndpoint(
                        message.number,
                        receiver.endpoint,
                        nonce,
                        receiver.certificate,
                        round_trip,
                    ),
                ),
            ]
        introduction = Introduction(self._token_bytes(ID_BYTES), sender, receiver, message.number)
        request: Message
        if message.technique == Technique.RELAY:
            introduction.grant = self._reserve_circuit(introduction)
            request = RelayRequest(introduction.identifier, message.certificate)
        else:
            introduction.nonce = self._token_bytes(NONCE_BYTES)
            request = ConnectionRequest(introduction.identifier)
        self._introductions[introduction.identifier] = introduction
        sender.introduction = introduction
        sender.state = State.WAITING
        sender.deadline = now + INTRODUCTION_TIME
        return [(receiver, request)]

    def _receiver_for(self, request: IntroductionRequest) -> Connection:
        """The receiver that is asked for, if it can be introduced like that."""
        receiver = self._receivers.get(request.uid)
        if receiver is None:
            _refuse(
                RefusalCode.UNKNOWN_UID, "no receiver is registered under this UID", request.number
            )
        if request.stream not in receiver.streams:
            _refuse(
                RefusalCode.UNSUPPORTED_STREAM,
                f"the sender wants a {request.stream} stream, and the receiver takes only "
                f"{' or '.join(receiver.streams) or 'what this broker does not know'}: both have "
                "to choose the same",
                request.number,
            )
        if request.technique not in receiver.techniques:
            _refuse(
                RefusalCode.UNSUPPORTED_TECHNIQUE,
                "the receiver cannot be introduced by this technique, only by "
                f"{' or '.join(receiver.techniques) or 'none that this broker knows'}",
                request.number,
            )
        if request.technique == Technique.RELAY and request.stream != StreamKind.SESSION:
            _refuse(
                RefusalCode.UNSUPPORTED_STREAM,
                "only sessions are relayed, because they are encrypted",
                request.number,
            )
        return receiver

    def _reserve_circuit(self, introduction: Introduction) -> Grant:
        if self._quota is None:
            _refuse(RefusalCode.RELAY_REFUSED, "this broker does not relay", introduction.number)
        try:
            return self._quota.reserve(
                self._token_bytes(ID_BYTES),
                introduction.sender.endpoint.address,
                peer_id_of_untrusted(introduction.receiver.certificate),
            )
        except OverQuotaError as error:
            _refuse(RefusalCode.RELAY_REFUSED, str(error), introduction.number)

    def _join_relay(self, connection: Connection, message: JoinRelay, _now: float) -> Outgoing:
        introduction = self._pending(message.introduction)
        sender, grant = introduction.sender, introduction.grant
        if grant is None or self._quota is None:
            _refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is not for a relay")
        try:
            self._quota.join(grant, connection.endpoint.address)
        except OverQuotaError as error:
            reason = str(error)
            return [
                *self._close(connection, Refused(RefusalCode.RELAY_REFUSED, reason)),
                *self._close(
                    sender, Refused(RefusalCode.RELAY_REFUSED, reason, introduction.number)
                ),
            ]
        del self._introductions[introduction.identifier]
        connection.introduction = introduction
        connection.challenge = b""
        connection.state = sender.state = State.RELAYED
        limits = self._quota.limits
        outgoing: Outgoing = []
        for end, certificate in (
            (sender, introduction.receiver.certificate),
            (connection, None),
        ):
            relayed = Relayed(grant.circuit, certificate, limits.bytes_per_second, limits.max_bytes)
            outgoing.append((end, relayed))
        return outgoing

    def _acknowledge(self, connection: Connection, message: Acknowledge, _now: float) -> Outgoing:
        introduction = self._pending_classic(message.introduction)
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
                    introduction.sender.certificate,
                    self._round_trip_between(introduction.sender, introduction.receiver),
                ),
            )
        ]

    def _hole_punched(self, connection: Connection, message: HolePunched, _now: float) -> Outgoing:
        introduction = self._pending_classic(message.introduction)
        if introduction.receiver_endpoint is None:
            _refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is not acknowledged yet")
        self._close(connection)
        return self._close(
            introduction.sender,
            ReceiverEndpoint(
                introduction.number,
                introduction.receiver_endpoint,
                introduction.nonce,
                introduction.receiver.certificate,
                self._round_trip_between(introduction.sender, introduction.receiver),
            ),
        )

    def _pending_classic(self, identifier: bytes) -> Introduction:
        introduction = self._pending(identifier)
        if introduction.grant is not None:
            _refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is for a relay")
        return introduction

    def _pending(self, identifier: bytes) -> Introduction:
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
        (State.READY, JoinRelay): _join_relay,
    }


def _refuse(code: RefusalCode, reason: str, number: int | None = None) -> NoReturn:
    raise RefusalError(Refused(code, reason, number))


def _known(kinds: type[T], names: tuple[str, ...]) -> tuple[T, ...]:
    """Those of a kind that have been named; one object for all connections that named the same."""
    found = tuple(kind for kind in kinds if kind in names)
    return _KNOWN.setdefault(found, found)


_KNOWN: dict[tuple[Any, ...], tuple[Any, ...]] = {}


def _is_same_identity(certificate: bytes, other: bytes) -> bool:
    return public_key_of_untrusted(certificate) == public_key_of_untrusted(other)
