"""What a peer is told of the other one, and the connection that comes of it."""

from __future__ import annotations

import attrs

from .._addresses import Endpoint, Vantage
from .._attempt import Route, Technique
from .._wire.messages import ReceiverEndpoint, SenderEndpoint
from .candidates import forbidden_untrusted, vet_untrusted
from .check import Role
from .strategy import ROUTES, Side, Strategy, reflexive_route, strategy_for


@attrs.frozen
class Introduction:
    """What a peer was told of the other.

    Attributes:
        technique: how the peers were introduced.
        role: which of the two this peer is.
        peer: what is known of the other peer.
        strategy: how to connect to it.
        needs_classic: whether the peers, who both know it, leave this to the classic technique.
        forbidden: where the peer or the broker wants us to connect to, and by which route, and
            we do not.
        nonce: known to both, and to the broker.
        certificate: the other peer's, as the broker says.
        round_trip: between the peers in seconds, an upper bound; 0 if unknown.
        delay: for how many seconds to wait so that the peer, who learns of us later, is told, too.
        search: what the sender recognises its introductions by, if it has said so to us.
        number: of the sender's request; 0 on the receiver's side.
    """

    technique: Technique
    role: Role
    peer: Side
    strategy: Strategy
    needs_classic: bool
    forbidden: tuple[tuple[Route, Endpoint], ...]
    nonce: bytes = attrs.field(repr=False)
    certificate: bytes = attrs.field(repr=False)
    round_trip: float
    delay: float
    search: bytes | None = attrs.field(repr=False)
    number: int = 0

    @classmethod
    def of(
        cls,
        technique: Technique,
        message: SenderEndpoint | ReceiverEndpoint,
        own: Side,
        *,
        vantage: Vantage,
        broker_round_trip: float,
    ) -> Introduction:
        """The introduction that a broker's message makes.

        Args:
            technique: by which technique.
            message: what the broker says of the peer.
            own: what is known of us.
            vantage: where we stand towards the broker.
            broker_round_trip: ours to it in seconds; 0 if unknown.
        """
        role = Role.RECEIVER if isinstance(message, SenderEndpoint) else Role.SENDER
        offered, broker = message.offer.candidates, vantage.broker
        vetted = vet_untrusted(offered, own.endpoint, message.endpoint, broker)
        forbidden = [
            (ROUTES[each.kind], each.endpoint)
            for each in forbidden_untrusted(offered, message.endpoint, broker)
        ]
        peer = Side(message.endpoint, attrs.evolve(message.offer, candidates=vetted))
        # The broker's is the sum of both ways to it, and it has told us both at the same time.
        round_trip = message.round_trip / 1_000_000
        strategy = strategy_for(role, own, peer)
        if not vantage.may_dial_untrusted(message.endpoint):
            strategy = strategy.without_told()
            route = reflexive_route(message.endpoint.address.version)
            forbidden.append((route, message.endpoint))
        sender = own if role is Role.SENDER else peer
        # What one side would try meanwhile moves the counters that the other one relies on.
        return cls(
            technique,
            role,
            peer,
            strategy,
            technique is Technique.FAST and strategy.needs_order and sender.nat.is_known,
            tuple(forbidden),
            message.nonce,
            message.certificate,
            round_trip,
            max(0.0, round_trip / 2 - broker_round_trip),
            message.search if isinstance(message, SenderEndpoint) else None,
            message.number if isinstance(message, ReceiverEndpoint) else 0,
        )
