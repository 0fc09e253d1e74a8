"""Turns what the broker tells a receiver of senders into connections."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from .._addresses import Endpoint
from .._attempt import Attempt, Outcome, Technique
from .._broker_client.connection import BrokerConnection, unexpected
from .._broker_client.relay import join_relay
from .._broker_client.resolve import connect_to_broker
from .._errors import (
    NotAdmittedError,
    P2PError,
    PathLostError,
    RemoteProtocolError,
    WrongPeerError,
)
from .._net.nursery import open_background_nursery
from .._peer_connection import PeerConnection
from .._traversal.candidates import make_offer
from .._traversal.introduction import Introduction
from .._traversal.nomination import Errands
from .._traversal.race import connect_introduced
from .._traversal.shared_port import SharedPort, start_shared_port
from .._wire.messages import (
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    Message,
    RelayRequest,
    SenderEndpoint,
)
from .reachability import LocalSide

logger = logging.getLogger("trio_p2p.receiver")

MAX_INTRODUCTIONS = 256  # under way at a time
INTRODUCTION_TIME = 15.0  # seconds; no sender tries one technique for longer
MAX_NONCES = 4096  # of introductions, remembered to recognise one that comes again
Take: TypeAlias = Callable[[PeerConnection, trio.CancelScope], Awaitable[None]]
_Connect: TypeAlias = Callable[[], Awaitable[PeerConnection | None]]


class Introductions:
    """The introductions to a receiver, whichever of its registrations they come over.

    Args:
        uid: the receiver's.
        capabilities: what to greet the broker with.
        take: makes of a connection what the application wants of it.
        port_guessing: whether to take part in guessing ports.

    Attributes:
        introduced, failed, forbidden, wrong_peers: counts so far.
    """

    def __init__(
        self, uid: str, capabilities: Sequence[str], take: Take, *, port_guessing: bool
    ) -> None:
        self.introduced: int = 0
        self.failed: int = 0
        self.forbidden: int = 0
        self.wrong_peers: int = 0
        self._uid = uid
        self._capabilities = capabilities
        self._take = take
        self._port_guessing = port_guessing
        self._nonces: dict[bytes, None] = {}
        self._errands = Errands()
        self._under_way = 0

    def start(
        self, message: Message, local_side: LocalSide, round_trip: float, nursery: trio.Nursery
    ) -> None:
        """Begin to connect to a sender.

        Args:
            message: what the broker says of it.
            local_side: from where to meet it.
            round_trip: to the broker, in seconds.
            nursery: where to connect.

        Raises:
            RemoteProtocolError: the message says nothing of a sender.
        """
        connect: _Connect
        match message:
            case SenderEndpoint():
                connect = partial(self._connect_fast, message, local_side, round_trip)
            case ConnectionRequest():
                connect = partial(self._connect_classic, message, local_side)
            case RelayRequest():
                connect = partial(join_relay, local_side.broker, message)
            case _:
                raise unexpected(message)
        self.introduced += 1
        if self._under_way == MAX_INTRODUCTIONS:
            self.failed += 1
            logger.warning(
                "introduction to %r ignored: too many introductions under way", self._uid
            )
            return
        self._under_way += 1
        nursery.start_soon(self._connect, connect, isinstance(message, RelayRequest))

    def start_shared_port(self, nursery: trio.Nursery, connection: BrokerConnection) -> SharedPort:
        """Accept on the port that a connection to the broker was made from."""
        return start_shared_port(
            nursery, connection.local, asks=False, on_stranger=self.note_stranger
        )

    def note_stranger(self) -> None:
        """A connection was closed whose other side has not proven itself."""
        self.wrong_peers += 1

    async def _connect(self, connect: _Connect, is_relay: bool) -> None:
        try:
            with trio.move_on_after(INTRODUCTION_TIME) as scope:
                connection = await connect()
                if connection is not None:  # else the sender has another one already
                    await self._take(connection, scope)
                return
            logger.info("introduction to %r led to no connection", self._uid)
        except (P2PError, OSError) as error:
            # A sender that has found one path leaves the others as they are: no news.
            is_hostile = isinstance(error, (NotAdmittedError, WrongPeerError))
            is_left = is_relay or isinstance(error, PathLostError)
            level = logging.DEBUG if is_left and not is_hostile else logging.WARNING
            self.wrong_peers += isinstance(error, WrongPeerError)
            logger.log(level, "introduction to %r failed: %s", self._uid, error)
        finally:
            self._under_way -= 1
        self.failed += not is_relay

    async def _connect_fast(
        self, message: SenderEndpoint, local_side: LocalSide, round_trip: float
    ) -> PeerConnection | None:
        """Punch from the registration's port, or that which the broker has seen over IPv6."""
        introduction = Introduction.of(
            Technique.FAST,
            message,
            local_side.side,
            broker=local_side.broker.address,
            broker_round_trip=round_trip,
        )
        logger.debug("steps 5 to 8: punching to %s, listening", message.endpoint)
        return await self._punch(introduction, local_side.shared_port, local_side.guard_hops)

    async def _connect_classic(
        self, request: ConnectionRequest, local_side: LocalSide
    ) -> PeerConnection | None:
        """Steps 3 to 9: punch from a fresh port, and tell the broker."""
        punched = None
        try:
            async with open_background_nursery() as nursery:
                punched = await self._punch_classic(request, local_side, nursery)
        except BaseException:
            if punched is not None:
                punched.close()
            raise
        return punched

    async def _punch_classic(
        self, request: ConnectionRequest, local_side: LocalSide, nursery: trio.Nursery
    ) -> PeerConnection | None:
        async with await connect_to_broker([local_side.broker], self._capabilities) as connection:
            logger.debug("step 3: acknowledging from %s", connection.local)
            nat = local_side.local_network.nat
            offer = make_offer(nat, connection.local, port_guessing=self._port_guessing)
            await connection.send(Acknowledge(request.introduction, offer))
            message = await connection.receive()
            if not isinstance(message, SenderEndpoint):
                raise unexpected(message)
            # Before step 5: the port must stay ours.
            shared_port = self.start_shared_port(nursery, connection)
        introduction = Introduction.of(
            Technique.CLASSIC,
            message,
            attrs.evolve(local_side.side, offer=offer),
            broker=local_side.broker.address,
            broker_round_trip=connection.round_trip,
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
            async with await connect_to_broker([broker], self._capabilities) as connection:
                logger.debug("step 9: reporting the punched hole to the broker")
                await connection.send(HolePunched(request.introduction))
        except P2PError as error:
            logger.warning("punched hole not reported to the broker: %s", error)

    async def _punch(
        self,
        introduction: Introduction,
        shared_port: SharedPort,
        guard_hops: int,
        on_punched: Callable[[], None] = lambda: None,
    ) -> PeerConnection | None:
        if introduction.nonce in self._nonces:
            raise RemoteProtocolError("got the same introduction a second time from the broker")
        self._nonces[introduction.nonce] = None
        if len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]

        async def connect() -> PeerConnection:
            if introduction.needs_classic:
                await trio.sleep_forever()  # but what the sender began before is over
            return await connect_introduced(
                shared_port,
                introduction,
                guard_hops=guard_hops,
                on_attempt=self._note_attempt,
                on_punched=on_punched,
            )

        ip_version = introduction.peer.endpoint.address.version
        return await self._errands.connect(introduction.errand, ip_version, connect)

    def _note_attempt(self, attempt: Attempt) -> None:
        logger.debug("attempt: %s", attempt)
        self.forbidden += attempt.outcome is Outcome.FORBIDDEN
        self.wrong_peers += attempt.outcome is Outcome.WRONG_PEER


def ip_version_of(message: Message) -> int | None:
    """By which version of IP the broker wants the peers to meet; None if it does not say."""
    match message:
        case SenderEndpoint():
            return message.endpoint.address.version
        case ConnectionRequest():
            return message.ip_version
        case _:
            return None
