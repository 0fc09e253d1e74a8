"""The introductions of a broker: what the peers are told, and what they have to answer. Sans-IO."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from .._attempt import Technique
from .._identity.certificate import peer_id_of_untrusted
from .._wire.messages import (
    ID_BYTES,
    MAX_ROUND_TRIP,
    NONCE_BYTES,
    ORIGIN_BYTES,
    Acknowledge,
    ConnectionRequest,
    Decline,
    HolePunched,
    IntroductionRequest,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Relayed,
    RelayRequest,
    SenderEndpoint,
)
from .._wire.offer import NO_OFFER, Offer
from .connection import Connection, Introduction, Messages, Registration
from .guessing import without_guessing, would_guess
from .pending import Pending
from .quota import CircuitGrant, OverQuotaError, RelayLimits, RelayQuota
from .refusals import refuse
from .source_limits import SourceQuota
from .told import ToldReceivers

_SECRET_BYTES = 32


class Introductions:
    """Makes introductions, and remembers those that a receiver has yet to answer.

    Args:
        token_bytes: gives so many unguessable bytes.
        round_trip: to a connection's client and back in microseconds, at a time; 0 if unknown.
        relay: how much to relay; None for nothing.
        sources: counts the introductions in which ports are guessed.

    Attributes:
        quota: counts what is relayed.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        round_trip: Callable[[Connection, float], int],
        relay: RelayLimits | None,
        sources: SourceQuota,
    ) -> None:
        self._token_bytes = token_bytes
        self._round_trip = round_trip
        self.quota: RelayQuota = RelayQuota(relay)
        self._sources = sources
        self._pending = Pending()
        self._told = ToldReceivers()
        self._secret = token_bytes(_SECRET_BYTES)

    def __len__(self) -> int:
        """How many are pending."""
        return len(self._pending)

    def introduce(
        self, sender: Connection, receiver: Registration, request: IntroductionRequest, now: float
    ) -> Messages:
        """Tell both peers at once: the fast technique."""
        connection = receiver.connection
        sender_offer, receiver_offer = self._vetted(sender, request.offer, connection.offer, now)
        nonce = self._token_bytes(NONCE_BYTES)
        round_trip = self._round_trip_between(sender, connection, now)
        self._told.add(receiver, nonce, sender, request.number, now)
        # The receiver first: its hole must be open when the sender's SYN arrives.
        return [
            (
                connection,
                SenderEndpoint(
                    sender.endpoint,
                    nonce,
                    sender.certificate,
                    round_trip,
                    sender_offer,
                    request.search,
                    request.proof,
                    receiver.number,
                ),
            ),
            (
                sender,
                ReceiverEndpoint(
                    request.number,
                    connection.endpoint,
                    nonce,
                    receiver.name.certificate,
                    round_trip,
                    receiver_offer,
                ),
            ),
        ]

    def begin(
        self, sender: Connection, receiver: Registration, request: IntroductionRequest, now: float
    ) -> Messages:
        """Ask the receiver, for whose answer the sender waits: the other techniques.

        Raises:
            RefusalError: nothing more is relayed for them.
        """
        introduction = Introduction(self._token_bytes(ID_BYTES), sender, receiver, request.number)
        question: Message
        origin = self._origin_of(sender)
        if request.technique == Technique.RELAY:
            introduction.grant = self._reserve_circuit(introduction, now)
            question = RelayRequest(
                introduction.identifier, request.certificate, receiver.number, origin
            )
        else:
            introduction.receiver_offer = receiver.connection.offer
            introduction.nonce = self._token_bytes(NONCE_BYTES)
            introduction.offer = request.offer
            introduction.search = request.search
            introduction.proof = request.proof
            question = ConnectionRequest(introduction.identifier, receiver.number, origin)
        self._pending.add(introduction)
        sender.introduction = introduction
        return [(receiver.connection, question)]

    def pending(self, identifier: bytes) -> Introduction:
        """What a receiver answers to.

        Raises:
            RefusalError: to nothing.
        """
        return self._pending.get_untrusted(identifier)

    def pending_of(self, receiver: Registration) -> list[Introduction]:
        """Those of a registration that its receiver has yet to answer."""
        return self._pending.of(receiver)

    def declined(self, connection: Connection, message: Decline) -> tuple[Connection, int] | None:
        """A receiver has no room for an introduction.

        Returns:
            The sender, and the number of its request; None if the receiver was told of no such
            introduction over this connection, or does not have it any more.
        """
        if message.introduction is not None:
            pending = self._pending.get(message.introduction)
            if pending is None or pending.receiver.connection is not connection:
                return None
            return pending.sender, pending.number
        told = None if message.nonce is None else self._told.pop(connection, message.nonce)
        return None if told is None else (told.sender, told.number)

    def heard_from(self, connection: Connection, now: float) -> None:
        """A receiver is there: forget what it cannot decline any more."""
        self._told.forget_old(connection, now)

    def lost(self, receiver: Registration) -> None:
        """A registration has ended, and what its receiver has yet to answer, too."""
        self._told.end(receiver)

    def acknowledge(self, connection: Connection, message: Acknowledge, now: float) -> Messages:
        """The receiver is going to punch, in the classic technique, from where this came from.

        Raises:
            RefusalError: it was not asked to, or not by this version of IP, or has said so already.
        """
        introduction = self._pending.get_classic_untrusted(message.introduction)
        sender, receiver = introduction.sender, introduction.receiver
        if introduction.receiver_endpoint is not None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is acknowledged already")
        if connection.endpoint.address.version != sender.endpoint.address.version:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this comes by another version of IP")
        introduction.receiver_endpoint = connection.endpoint
        if message.offer != NO_OFFER:
            introduction.receiver_offer = message.offer
        introduction.offer, introduction.receiver_offer = self._vetted(
            sender, introduction.offer, introduction.receiver_offer, now
        )
        return [
            (
                connection,
                SenderEndpoint(
                    sender.endpoint,
                    introduction.nonce,
                    sender.certificate,
                    self._round_trip_between(sender, receiver.connection, now),
                    introduction.offer,
                    introduction.search,
                    introduction.proof,
                ),
            )
        ]

    def punched(self, message: HolePunched, now: float) -> tuple[Connection, ReceiverEndpoint]:
        """The hole is punched, in the classic technique: the sender, and what it is told.

        Raises:
            RefusalError: no sender has asked for it, or it was not acknowledged.
        """
        introduction = self._pending.get_classic_untrusted(message.introduction)
        sender, receiver = introduction.sender, introduction.receiver
        if introduction.receiver_endpoint is None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is not acknowledged yet")
        return sender, ReceiverEndpoint(
            introduction.number,
            introduction.receiver_endpoint,
            introduction.nonce,
            receiver.name.certificate,
            self._round_trip_between(sender, receiver.connection, now),
            introduction.receiver_offer,
        )

    def join(self, introduction: Introduction, connection: Connection) -> Messages:
        """The receiver is there to be relayed, so the introduction is done.

        Raises:
            RefusalError: it was not for a relay.
        """
        grant = introduction.grant
        if grant is None:
            refuse(RefusalCode.PROTOCOL_VIOLATION, "this introduction is not for a relay")
        self._pending.remove(introduction)
        limits = grant.limits.told
        certificate = introduction.receiver.name.certificate
        return [
            (introduction.sender, Relayed(grant.circuit, certificate, *limits)),
            (connection, Relayed(grant.circuit, None, *limits)),
        ]

    def end(self, introduction: Introduction) -> None:
        """End an introduction that is answered, or whose sender does not wait any more."""
        self._pending.remove(introduction)
        if introduction.grant is not None:
            self.quota.release(introduction.grant)

    def _vetted(
        self, sender: Connection, offer: Offer, receiver_offer: Offer, now: float
    ) -> tuple[Offer, Offer]:
        """The offers of both peers, as they may be passed on."""
        if not would_guess(sender.endpoint, offer, receiver_offer):
            return offer, receiver_offer
        if self._sources.may_guess(sender, now):
            return offer, receiver_offer
        return without_guessing(offer), without_guessing(receiver_offer)

    def _origin_of(self, sender: Connection) -> bytes:
        """What senders of one source have in common, which does not say where they are."""
        return hmac.digest(self._secret, sender.source, hashlib.sha256)[:ORIGIN_BYTES]

    def _reserve_circuit(self, introduction: Introduction, now: float) -> CircuitGrant:
        try:
            return self.quota.reserve(
                self._token_bytes(ID_BYTES),
                introduction.sender.party,
                peer_id_of_untrusted(introduction.receiver.name.certificate),
                now,
            )
        except OverQuotaError as error:
            refuse(
                RefusalCode.RELAY_REFUSED,
                str(error),
                introduction.number,
                retry_after=error.retry_after,
            )

    def _round_trip_between(self, sender: Connection, receiver: Connection, now: float) -> int:
        """An upper bound, by the triangle inequality."""
        by_broker = self._round_trip(sender, now) + self._round_trip(receiver, now)
        return min(by_broker, MAX_ROUND_TRIP)
