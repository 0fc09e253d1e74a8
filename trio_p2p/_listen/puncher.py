"""How a receiver connects to a sender that it is introduced to, by each technique."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

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
from .._errors import BrokerLostError, LocalProtocolError, P2PError, RemoteProtocolError
from .._identity.certificate import peer_id_of_untrusted
from .._net.attempt_log import AttemptLog
from .._net.nursery import open_background_nursery
from .._net.winner import Winner
from .._peer_connection import PeerConnection
from .._traversal.candidates import make_offer
from .._traversal.introduction import Introduction
from .._traversal.nomination import Searches
from .._traversal.race import connect_introduced
from .._traversal.shared_port import SharedPort, Strangers, start_shared_port
from .._traversal.strategy import Side
from .._wire.messages import (
    Acknowledge,
    ConnectionRequest,
    Decline,
    HolePunched,
    RelayRequest,
    SenderEndpoint,
)
from .guessing import GuessingPermits

REJOIN_TIME = 500  # milliseconds after which a sender may ask again whose circuit was not joined
MAX_NONCES = 4096  # of introductions, remembered to recognise one that comes again

logger = logging.getLogger("trio_p2p.receiver")


class Puncher:
    """Punches for a receiver, from the ports of its connections to the broker and from fresh ones.

    Args:
        broker: connects to the broker.
        capabilities: what to greet the broker with.
        port_guessing: whether to take part in guessing ports.
        permits: for whom to do so.

    Attributes:
        strangers: those who came to ports that nothing else shares.
    """

    def __init__(
        self,
        broker: BrokerFinder,
        capabilities: Sequence[str],
        *,
        port_guessing: bool,
        permits: GuessingPermits,
    ) -> None:
        self.strangers: Strangers = Strangers()
        self._broker = broker
        self._capabilities = capabilities
        self._port_guessing = port_guessing
        self._permits = permits
        self._nonces: dict[bytes, None] = {}
        self._searches = Searches()

    async def join_relay(self, request: RelayRequest, link: BrokerLink) -> PeerConnection:
        """Join a circuit of the broker's.

        If it does not come about, the sender is told so, which would wait in vain otherwise.
        """
        try:
            return await join_relay(self._broker, link.remote, request)
        except P2PError as error:
            failure = error
        if not isinstance(failure, LocalProtocolError):  # else the sender does not wait any more
            with suppress(BrokerLostError):
                await link.send(Decline(request.introduction, retry_after=REJOIN_TIME))
        raise failure

    async def connect_fast(
        self, message: SenderEndpoint, link: BrokerLink, attempts: AttemptLog
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
                    introduction, local_side.shared_port, local_side.guard_hops, attempts
                )
        except ClaimedError:
            logger.debug("%s is met already: its next port is waited for", message.endpoint)
        return None

    async def connect_classic(
        self, request: ConnectionRequest, local_side: LocalSide, attempts: AttemptLog
    ) -> PeerConnection | None:
        """Steps 3 to 9: punch from a fresh port, and tell the broker."""
        with Winner(PeerConnection.close) as winner:
            async with open_background_nursery() as nursery:
                punched = await self._punch_classic(request, local_side, attempts, nursery)
                if punched is not None:
                    winner.offer(punched)
        return winner.found

    async def _punch_classic(
        self,
        request: ConnectionRequest,
        local_side: LocalSide,
        attempts: AttemptLog,
        nursery: trio.Nursery,
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
            shared_port = start_shared_port(nursery, connection.local, self.strangers)
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
        punched = trio.Event()
        nursery.start_soon(self._report_punched, punched, local_side.broker, request)
        return await self._punch(
            introduction, shared_port, local_side.guard_hops, attempts, punched
        )

    async def _report_punched(
        self, punched: trio.Event, broker: Endpoint, request: ConnectionRequest
    ) -> None:
        await punched.wait()
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
        attempts: AttemptLog,
        punched: trio.Event | None = None,
    ) -> PeerConnection | None:
        async def connect() -> PeerConnection:
            if introduction.needs_classic:
                await trio.sleep_forever()  # but what the sender began before is over
            return await connect_introduced(
                shared_port,
                introduction,
                guard_hops=guard_hops,
                attempts=attempts,
                punched=punched,
            )

        ip_version = introduction.peer.endpoint.address.version
        return await self._searches.connect(introduction.search, ip_version, connect)
