"""What the broker knows and decides: registrations, their expiry, who may ask for what.

Sans-IO: messages go in, messages come out, time is an argument. All that a connection may say in
each state stands in one table, at the end of the class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._identity.access_token import Use
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
    Identify,
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
    Report,
    Unregister,
    Unwatch,
    Update,
    Watch,
)
from .budget import CANDIDATE_BYTES
from .connection import Connection, Messages, State, known_techniques
from .ledger import Ledger
from .refusals import (
    RefusalError,
    check_identification_untrusted,
    check_identity_untrusted,
    check_introduction,
    refuse,
)

SILENCE_TIME = 65.0  # seconds; initiation 4: two keepalives of 30 s may go astray, and 5 s
INTRODUCTION_TIME = 10.0  # seconds; steps 2 to 9: four round trips, and some retransmitted SYNs
RETRY_TIME = 1.0  # seconds until to ask again for a receiver that does not read at once
# Taken without TLS: they hold nothing that TLS would hide or prove, and cost fewer round trips.
_WITHOUT_TLS = (Hello, Probe, CallBack)
_TECHNIQUES = {str(each): each for each in Technique}
_ON_ITS_OWN = frozenset[str]({Technique.CLASSIC, Technique.RELAY})  # take a whole connection


class Registry(Ledger):
    """What clients may say to one broker, and what comes of it; see :class:`Ledger`."""

    def received(self, connection: Connection, message: Message, now: float) -> Messages:
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
            self._farewell.check(message)
            if connection.lacks_tls and not isinstance(message, _WITHOUT_TLS):
                refuse(
                    RefusalCode.PROTOCOL_VIOLATION,
                    "this broker speaks TLS: put tls:// in front of its address",
                )
            before = connection.state
            outgoing = transition(self, connection, message, now)
        except RefusalError as refusal:
            if refusal.refused.number is None:
                return self._lose(connection, now, refusal.refused)
            return [(connection, refusal.refused)]
        except RemoteProtocolError as error:
            return self.violated(connection, error, now)
        if self._farewell.notice is not None and before is State.READY:
            outgoing += self.drain([connection], self._farewell.notice)
        return outgoing

    # Transitions: one method for each kind of message.

    def _hello(self, connection: Connection, message: Hello, _now: float) -> Messages:
        if message.version != VERSION:
            refuse(
                RefusalCode.UNSUPPORTED_VERSION,
                f"this broker speaks version {VERSION} of the protocol, not {message.version}",
            )
        connection.token = self._admission.token_of_untrusted(message.token)
        connection.state = State.READY
        connection.techniques = known_techniques(message.capabilities)
        connection.challenge = self._token_bytes(CHALLENGE_BYTES)
        wants_proof = self._admission.wants_proof(connection)
        hello = self._prober.hello(connection, self.capabilities, wants_proof=wants_proof)
        return [(connection, hello)]

    def _identify(self, connection: Connection, message: Identify, _now: float) -> Messages:
        check_identification_untrusted(message, connection, self._own_endpoints)
        connection.prove(message.certificate)
        return []

    def _register(self, connection: Connection, message: Register, now: float) -> Messages:
        self._take_control(connection, now)
        self._registrations.check_number(connection, message)
        check_identity_untrusted(message, connection, self._own_endpoints)
        connection.prove(message.certificate)
        self._registrations.check_room(connection, message)
        self._admission.check(
            Use.REGISTER, connection, message.uid, message.certificate, message.number
        )
        holder = self._registrations.check_holder(message, now)
        outgoing = [] if holder is None else self._displace(holder, connection, message)
        connection.certificate = connection.proven
        name, is_news = self._registrations.begin(connection, message)
        if name.registrations == (connection.registration,):
            self._observer.registered(name.uid, connection.endpoint)
        outgoing.append((connection, Registered(message.number, connection.endpoint)))
        if is_news:
            outgoing += self._told(self._watches.registered(name), name.uid)
        return outgoing

    def _told(self, news: Messages, uid: str) -> Messages:
        """News of a UID for those that may ask for it: the others watch it in vain."""
        return [
            (watcher, message)
            for watcher, message in news
            if self._admission.admits(Use.ASK, watcher, uid, watcher.proven or watcher.certificate)
        ]

    def _unregister(self, connection: Connection, message: Unregister, now: float) -> Messages:
        self._take_control(connection, now)
        registration = connection.find(message.number)
        # If there is none, the client was refused just now.
        return [] if registration is None else self._release(registration)

    def _keep_alive(self, connection: Connection, _message: KeepAlive, now: float) -> Messages:
        self._take_control(connection, now)
        self._introductions.heard_from(connection, now)
        outgoing: Messages = []
        for each in list(connection.registrations):
            uid, certificate = each.name.uid, each.name.certificate
            refused = self._admission.why_not_registered(connection, uid, certificate, each.number)
            if refused is not None:
                outgoing += self._release(each, refused)
        return outgoing

    def _update(self, connection: Connection, message: Update, now: float) -> Messages:
        size = CANDIDATE_BYTES * len(message.offer.candidates)
        if self._budget.has_room(connection.source, size):
            self._hold_offer(connection, message.offer)
        return self._keep_alive(connection, KeepAlive(), now)

    def _decline(self, receiver: Connection, message: Decline, now: float) -> Messages:
        self._take_control(receiver, now)
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
        return [(sender, refused)] if sender.state is State.CONTROL else []

    def _kill(self, connection: Connection, _message: Kill, _now: float) -> Messages:
        return self._close(connection)

    def _request(self, sender: Connection, message: IntroductionRequest, now: float) -> Messages:
        is_on_its_own = message.technique in _ON_ITS_OWN
        if is_on_its_own and sender.state is not State.READY:
            refuse(
                RefusalCode.PROTOCOL_VIOLATION,
                f"a {message.technique} introduction takes a connection of its own",
                message.number,
            )
        if is_on_its_own:
            sender.deadline = now + SILENCE_TIME
        else:
            self._take_control(sender, now)
        if message.certificate != sender.certificate:  # a kept connection's is checked once
            public_key_of_untrusted(message.certificate)
            sender.certificate = message.certificate
        use = Use.RELAY if message.technique == Technique.RELAY else Use.ASK
        self._admission.check(use, sender, message.uid, message.certificate, message.number)
        name = self._registrations.holder(message.uid)
        if name is None:
            self._sources.refuse_unknown(sender, message.number, now)
        receiver = check_introduction(sender, name, message)
        self._sources.check_introduction(sender, name, message.number, now)
        if not self._reads(receiver.connection):
            refuse(
                RefusalCode.BUSY,
                "the receiver does not read as fast as it is asked for: try again later",
                message.number,
                retry_after=RETRY_TIME,
            )
        if is_on_its_own:
            outgoing = self._introductions.begin(sender, receiver, message, now)
            sender.challenge, sender.local = b"", None
            sender.state = State.WAITING
            sender.deadline = now + INTRODUCTION_TIME
        else:
            outgoing = self._introductions.introduce(sender, receiver, message, now)
            self._farewell.introduced(now)
        self._observer.introduced(_TECHNIQUES[message.technique])
        return outgoing

    def _watch(self, sender: Connection, message: Watch, now: float) -> Messages:
        self._take_control(sender, now)
        self._watches.begin(sender, message, self._registrations.holder(message.uid))
        return []

    def _unwatch(self, sender: Connection, message: Unwatch, now: float) -> Messages:
        self._take_control(sender, now)
        self._watches.forget(sender, message.uid)
        return []

    def _report(self, sender: Connection, message: Report, now: float) -> Messages:
        self._take_control(sender, now)
        if self._sources.may_report(sender, now):
            self._observer.reported(message)
        return []

    def _join_relay(self, connection: Connection, message: JoinRelay, _now: float) -> Messages:
        introduction = self._introductions.pending(message.introduction)
        sender = introduction.sender
        outgoing = self._introductions.join(introduction, connection)
        connection.introduction = introduction
        connection.challenge, connection.local = b"", None
        connection.state = sender.state = State.RELAYED
        return outgoing

    def _acknowledge(self, connection: Connection, message: Acknowledge, now: float) -> Messages:
        outgoing = self._introductions.acknowledge(connection, message, now)
        connection.state = State.ACKNOWLEDGED
        return outgoing

    def _hole_punched(self, connection: Connection, message: HolePunched, now: float) -> Messages:
        sender, last = self._introductions.punched(message, now)
        self._close(connection)
        return self._close(sender, last)

    def _probe(self, connection: Connection, _message: Probe, now: float) -> Messages:
        return self._prober.probe(connection, now)

    def _call_back(self, connection: Connection, _message: CallBack, now: float) -> Messages:
        is_called = self._prober.call_back(connection, now)
        return [] if is_called else self._close(connection, CalledBack())

    def _take_control(self, connection: Connection, now: float) -> None:
        """A connection is a control connection from now on, and its client is there."""
        connection.state = State.CONTROL
        connection.deadline = now + SILENCE_TIME

    TRANSITIONS: ClassVar[dict[tuple[State, type[Message]], Callable[..., Messages]]] = {
        (State.GREETING, Hello): _hello,
        (State.READY, Identify): _identify,
        (State.READY, Register): _register,
        (State.READY, IntroductionRequest): _request,
        (State.READY, Watch): _watch,
        (State.READY, Report): _report,
        (State.READY, KeepAlive): _keep_alive,
        (State.CONTROL, Identify): _identify,
        (State.CONTROL, Register): _register,
        (State.CONTROL, Unregister): _unregister,
        (State.CONTROL, IntroductionRequest): _request,
        (State.CONTROL, Watch): _watch,
        (State.CONTROL, Unwatch): _unwatch,
        (State.CONTROL, Report): _report,
        (State.CONTROL, KeepAlive): _keep_alive,
        (State.CONTROL, Update): _update,
        (State.CONTROL, Decline): _decline,
        (State.CONTROL, Kill): _kill,
        (State.READY, Acknowledge): _acknowledge,
        (State.READY, HolePunched): _hole_punched,
        (State.READY, JoinRelay): _join_relay,
        (State.READY, Probe): _probe,
        (State.PROBED, CallBack): _call_back,
    }
