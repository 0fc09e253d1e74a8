"""How a receiver connects to a sender that it is introduced to, by each technique."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import attrs
import trio

from .._addresses import Endpoint, Vantage
from .._attempt import Technique
from .._broker_client.connection import unexpected
from .._broker_client.finder import BrokerFinder
from .._broker_client.relay import join_relay
from .._control.broker_link import BrokerLink
from .._control.claims import ClaimedError
from .._control.reachability import LocalSide
from .._errors import P2PError, RemoteProtocolError
from .._identity.certificate import peer_id_of_untrusted
from .._net.nursery import open_background_nursery
from .._net.winner import Winner
from .._peer_connection import OnAttempt, PeerConnection
from .._traversal.candidates import make_offer
from .._traversal.introduction import Introduction
from .._traversal.nomination import Searches
from .._traversal.race import connect_introduced
from .._traversal.shared_port import SharedPort, start_shared_port
from .._traversal.strategy import Side
from .._wire.messages import (
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    RelayRequest,
    SenderEndpoint,
)
from .guessing import GuessingPermits

MAX_NONCES = 4096  # of introductions, remembered to recognise one that comes again

logger = logging.getLogger("trio_p2p.receiver")


class Puncher:
    """Punches for a receiver, from the ports of its connections to the broker and from fresh ones.

    Args:
        broker: connects to the broker.
        capabilities: what to greet the broker with.
        port_guessing: whether to take part in guessing ports.
        permits: for whom to do so.
        on_attempt: told of each attempt when it has ended.
        on_stranger: called when a connection was closed whose other side has not proven itself.
    """

    def __init__(
        self,
        broker: BrokerFinder,
        capabilities: Sequence[str],
        *,
        port_guessing: bool,
        permits: GuessingPermits,
        on_attempt: OnAttempt,
        on_stranger: Callable[[], object],
    ) -> None:
        self._broker = broker
        self._capabilities = capabilities
        self._port_guessing = port_guessing
        self._permits = permits
        self._on_attempt = on_attempt
        self._on_stranger = on_stranger
        self._nonces: dict[bytes, None] = {}
        self._searches = Searches()

    async def join_relay(self, request: RelayRequest, link: BrokerLink) -> PeerConnection:
        """Join a circuit of the broker's."""
        return await join_relay(self._broker, link.remote, request, link.send)

    async def connect_fast(
        self, message: SenderEndpoint, link: BrokerLink
    ) -> PeerConnection | None:
        """Punch from the port that the name is registered from."""
        local_side = link.local_side
        vantage = Vantage(
            local_side.shared_port.address,
            local_side.side.endpoint.address,
            local_side.broker.address,
        )
        introduction = self._introduction(
            Technique.FAST, message, local_side.side, vantage, link.round_trip
        )
        logger.debug("steps 5 to 8: punching to %s, listening", message.endpoint)
        sender = peer_id_of_untrusted(message.certificate)
        try:
            with link.claims.claimed(message.endpoint, sender):
                return await self._punch(
                    introduction, local_side.shared_port, local_side.guard_hops
                )
        except ClaimedError:
            logger.debug("%s is met already: its next port is waited for", message.endpoint)
        return None

    async def connect_classic(
        self, request: ConnectionRequest, local_side: LocalSide
    ) -> PeerConnection | None:
        """Steps 3 to 9: punch from a fresh port, and tell the broker."""
        with Winner(PeerConnection.close) as winner:
            async with open_background_nursery() as nursery:
                punched = await self._punch_classic(request, local_side, nursery)
                if punched is not None:
                    winner.offer(punched)
        return winner.found

    async def _punch_classic(
        self, request: ConnectionRequest, local_side: LocalSide, nursery: trio.Nursery
    ) -> PeerConnection | None:
        async with await self._broker.connect_to(
            local_side.broker, self._capabilities
        ) as connection:
            logger.debug("step 3: acknowledging from %s", connection.local)
            nat = local_side.local_network.nat
            offer = make_offer(nat, connection.local, port_guessing=self._port_guessing)
            await connection.send(Acknowledge(request.introduction, offer))
            message = await connection.receive_answer()
            if not isinstance(message, SenderEndpoint):
                raise unexpected(message)
            # Before step 5: the port must stay ours.
            shared_port = start_shared_port(
                nursery, connection.local, on_stranger=self._on_stranger
            )
        introduction = self._introduction(
            Technique.CLASSIC,
            message,
            attrs.evolve(local_side.side, offer=offer),
            connection.vantage,
            connection.round_trip,
        )
        logger.debug(
            "steps 4 and 5: sender is at %s, closing the connection to the broker", message.endpoint
        )
        logger.debug("steps 6 to 8: punching with a held SYN, listening")

        def report() -> None:
            nursery.start_soon(self._report_punched, local_side.broker, request)

        return await self._punch(
            introduction, shared_port, local_side.guard_hops, on_punched=report
        )

    async def _report_punched(self, broker: Endpoint, request: ConnectionRequest) -> None:
        try:
            async with await self._broker.connect_to(broker, self._capabilities) as connection:
                logger.debug("step 9: reporting the punched hole to the broker")
                await connection.send(HolePunched(request.introduction))
        except P2PError as error:
            logger.warning("punched hole not reported to the broker: %s", error)

    def _introduction(
        self,
        technique: Technique,
        message: SenderEndpoint,
        own: Side,
        vantage: Vantage,
        broker_round_trip: float,
    ) -> Introduction:
        """The introduction that a message makes, without guesses for a stranger.

        Raises:
            RemoteProtocolError: there was the same before.
        """
        if message.nonce in self._nonces:
            raise RemoteProtocolError("got the same introduction a second time from the broker")
        self._nonces[message.nonce] = None
        if len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        introduction = Introduction.of(
            technique, message, own, vantage=vantage, broker_round_trip=broker_round_trip
        )
        if introduction.strategy.port_guessing is None or self._permits.take_untrusted(
            message, trio.current_time()
        ):
            return introduction
        logger.info("sender at %s is not admitted: not guessing its port", message.endpoint)
        strategy = attrs.evolve(introduction.strategy, port_guessing=None)
        return attrs.evolve(introduction, strategy=strategy)

    async def _punch(
        self,
        introduction: Introduction,
        shared_port: SharedPort,
        guard_hops: int,
        on_punched: Callable[[], None] = lambda: None,
    ) -> PeerConnection | None:
        async def connect() -> PeerConnection:
            if introduction.needs_classic:
                await trio.sleep_forever()  # but what the sender began before is over
            return await connect_introduced(
                shared_port,
                introduction,
                guard_hops=guard_hops,
                on_attempt=self._on_attempt,
                on_punched=on_punched,
            )

        ip_version = introduction.peer.endpoint.address.version
        return await self._searches.connect(introduction.search, ip_version, connect)
