"""What the broker knows and decides: registrations, their expiry, who may ask for what.

Sans-IO: messages go in, messages come out, time is an argument. All that a connection may say in
each state stands in one table, at the end of the class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._identity.certificate import public_key_of_untrusted
from .._wire.messages import (
    CHALLENGE_BYTES,
    VERSION,
    Acknowledge,
    CallBack,
    CalledBack,
    Decline,
    Hello,
    HolePunched,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    Probe,
    RefusalCode,
    Refused,
    Register,
    Registered,
    RegisterIPv6,
    StreamKind,
    Update,
    Watch,
)
from .connection import Connection, Outgoing, State, named
from .ledger import Ledger
from .refusals import RefusalError, check_identity_untrusted, check_introduction, refuse

# Seconds.
SILENCE_TIME = 65.0  # initiation 4: two keepalives of 30 s may go astray, and 5 s
INTRODUCTION_TIME = 10.0  # steps 2 to 9: four round trips, with room for retransmitted SYNs
RETRY_TIME = 1.0  # after which to ask again for a receiver that does not read at once
# An IPv6 endpoint that a receiver was seen at. Addresses come and go (RFC 8981), and one that has
# gone may be another host's.
IPV6_TIME = 3600.0


class Registry(Ledger):
    """What clients may say to one broker, and what comes of it; see :class:`Ledger`."""

    def received(self, connection: Connection, message: Message, now: float) -> Outgoing:
        """A message came; what to send because of it.

        Afterwards every connection in :attr:`State.CLOSED` has said its last, and so has every
        one in :attr:`State.RELAYED`, whose bytes now belong to the other one of its introduction.
        One in :attr:`State.CALLED` wants to be called back, and :meth:`called_back` to be called.
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
                return self._lose(connection, now, refusal.refused)
            return [(connection, refusal.refused)]
        except RemoteProtocolError as error:
            return self.violated(connection, error, now)

    # Transitions: one method for each kind of message.

    def _hello(self, connection: Connection, message: Hello, _now: float) -> Outgoing:
        if message.version != VERSION:
            refuse(
                RefusalCode.UNSUPPORTED_VERSION,
                f"this broker speaks version {VERSION} of the protocol, not {message.version}",
            )
        connection.state = State.READY
        connection.techniques = named(Technique, message.capabilities)
        connection.streams = named(StreamKind, message.capabilities)
        connection.challenge = self._token_bytes(CHALLENGE_BYTES)
        return [(connection, self._prober.hello(connection, self._capabilities))]

    def _register(self, connection: Connection, message: Register, now: float) -> Outgoing:
        check_identity_untrusted(message, connection, self._own_endpoints)
        outgoing: Outgoing = []
        holder = self._registrations.check_holder(message, now)
        if holder is not None:
            outgoing += self._close(
                holder,
                Refused(
                    RefusalCode.UID_TAKEN,
                    "the UID was registered again by the same identity elsewhere",
                ),
            )
        connection.uid = message.uid
        connection.certificate = message.certificate
        connection.challenge, connection.local = b"", None
        connection.state = State.RECEIVER
        connection.deadline = now + SILENCE_TIME
        self._registrations.begin(connection)
        outgoing.append((connection, Registered(connection.endpoint)))
        return outgoing + self._watches.registered(connection)

    def _register_ipv6(self, connection: Connection, message: RegisterIPv6, now: float) -> Outgoing:
        check_identity_untrusted(message, connection, self._own_endpoints)
        if connection.endpoint.address.version != 6:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this does not come over IPv6")
        holder = self._registrations.check_holder(message, now)
        if holder is None:
            self._sources.refuse_unknown(connection, None, now)
        holder.ipv6 = connection.endpoint
        holder.ipv6_until = now + IPV6_TIME
        return self._close(connection, Registered(connection.endpoint))

    def _keep_alive(self, connection: Connection, _message: KeepAlive, now: float) -> Outgoing:
        connection.deadline = now + SILENCE_TIME
        self._introductions.heard_from(connection, now)
        return []

    def _update(self, connection: Connection, message: Update, now: float) -> Outgoing:
        connection.offer = message.offer
        return self._keep_alive(connection, KeepAlive(), now)

    def _decline(self, receiver: Connection, message: Decline, now: float) -> Outgoing:
        receiver.deadline = now + SILENCE_TIME
        declined = self._introductions.declined(receiver, message)
        if declined is None:
            return []
        sender, number = declined
        refused = Refused(
            RefusalCode.BUSY,
            "the receiver has no room for another introduction now: try again later",
            number,
            message.retry_after,
        )
        if message.introduction is not None:
            return self._close(sender, refused)  # it has waited for that, and for nothing else
        # After a request for the relay the sender may take no messages any more.
        return [(sender, refused)] if sender.state in (State.SENDER, State.WAITING) else []

    def _kill(self, connection: Connection, _message: Kill, _now: float) -> Outgoing:
        return self._close(connection)

    def _request(self, sender: Connection, message: IntroductionRequest, now: float) -> Outgoing:
        if message.certificate != sender.certificate:  # a kept connection's is checked once
            public_key_of_untrusted(message.certificate)
            sender.certificate = message.certificate
        sender.challenge = b""
        sender.state = State.SENDER
        sender.deadline = now + SILENCE_TIME
        receiver = self._registrations.holder(message.uid)
        if receiver is None:
            self._sources.refuse_unknown(sender, message.number, now)
        check_introduction(receiver, message)
        self._sources.check_introduction(sender, receiver, message.number, now)
        if not self._reads(receiver):
            refuse(
                RefusalCode.BUSY,
                "the receiver does not read as fast as it is asked for: try again later",
                message.number,
                retry_after=RETRY_TIME,
            )
        if message.technique == Technique.FAST:
            return self._introductions.introduce(sender, receiver, message, now)
        outgoing = self._introductions.begin(sender, receiver, message, now)
        self._watches.end(sender)  # nothing else may come over it now
        sender.state = State.WAITING
        sender.deadline = now + INTRODUCTION_TIME
        return outgoing

    def _watch(self, sender: Connection, message: Watch, now: float) -> Outgoing:
        sender.challenge = b""
        sender.state = State.SENDER
        sender.deadline = now + SILENCE_TIME
        self._watches.begin(sender, message.uid, self._registrations.holder(message.uid))
        return []

    def _join_relay(self, connection: Connection, message: JoinRelay, _now: float) -> Outgoing:
        introduction = self._introductions.pending(message.introduction)
        sender = introduction.sender
        outgoing = self._introductions.join(introduction, connection)
        connection.introduction = introduction
        connection.challenge = b""
        connection.state = sender.state = State.RELAYED
        return outgoing

    def _acknowledge(self, connection: Connection, message: Acknowledge, now: float) -> Outgoing:
        outgoing = self._introductions.acknowledge(connection, message, now)
        connection.state = State.ACKNOWLEDGED
        return outgoing

    def _hole_punched(self, connection: Connection, message: HolePunched, _now: float) -> Outgoing:
        sender, last = self._introductions.punched(message)
        self._close(connection)
        return self._close(sender, last)

    def _probe(self, connection: Connection, _message: Probe, now: float) -> Outgoing:
        return self._prober.probe(connection, now)

    def _call_back(self, connection: Connection, _message: CallBack, now: float) -> Outgoing:
        is_called = self._prober.call_back(connection, now)
        return [] if is_called else self._close(connection, CalledBack())

    TRANSITIONS: ClassVar[dict[tuple[State, type[Message]], Callable[..., Outgoing]]] = {
        (State.GREETING, Hello): _hello,
        (State.READY, Register): _register,
        (State.READY, RegisterIPv6): _register_ipv6,
        (State.RECEIVER, KeepAlive): _keep_alive,
        (State.RECEIVER, Update): _update,
        (State.RECEIVER, Kill): _kill,
        (State.RECEIVER, Decline): _decline,
        (State.READY, IntroductionRequest): _request,
        (State.SENDER, IntroductionRequest): _request,
        (State.READY, Watch): _watch,
        (State.SENDER, Watch): _watch,
        (State.READY, KeepAlive): _keep_alive,
        (State.SENDER, KeepAlive): _keep_alive,
        (State.READY, Acknowledge): _acknowledge,
        (State.READY, HolePunched): _hole_punched,
        (State.READY, JoinRelay): _join_relay,
        (State.READY, Probe): _probe,
        (State.PROBED, CallBack): _call_back,
    }
