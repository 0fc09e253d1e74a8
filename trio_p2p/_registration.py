"""Keeps a receiver registered, and turns the broker's messages into connections."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import attrs
import trio

from ._endpoint import Endpoint
from ._errands import Errands
from ._errors import (
    Attempt,
    BrokerLostError,
    BrokerUnreachableError,
    NotAdmittedError,
    Outcome,
    P2PError,
    PathLostError,
    RemoteProtocolError,
    Technique,
    WrongPeerError,
)
from ._identity import Identity
from ._introduction import Introduction, PeerConnection
from ._ipv6_presence import IPv6Presence
from ._nat.base import Base, start_base
from ._nat.candidates import make_offer
from ._net.backoff import Backoff
from ._net.broker_connection import FAREWELL_TIME, BrokerConnection, unexpected
from ._net.broker_search import connect_to_broker, find_broker, ip_versions_of
from ._net.network_changes import current_network
from ._net.nursery import open_background_nursery
from ._race import connect_introduced
from ._reachability import Footing, Reachability
from ._relaying import join_relay
from ._surroundings import Surroundings
from ._wire.messages import (
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    Kill,
    Message,
    Register,
    Registered,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
)

logger = logging.getLogger("trio_p2p.receiver")

MAX_INTRODUCTIONS = 256  # under way at a time
INTRODUCTION_TIME = 15.0  # seconds; no sender tries one technique for longer
MAX_NONCES = 4096  # of introductions, remembered to recognise one that comes again

Take: TypeAlias = Callable[[PeerConnection, trio.CancelScope], Awaitable[None]]
_Connect: TypeAlias = Callable[[], Awaitable[PeerConnection | None]]

# These may be over soon; all other errors are for good.
_PASSING_ERRORS = (BrokerUnreachableError, BrokerLostError, RemoteProtocolError, OSError)


class Registration:
    """One UID at one broker, for as long as :meth:`run` runs.

    Attributes:
        scope: cancel it to end the registration.
        failure: why the broker does not want us any more, or None.
        registered, introduced, failed, forbidden, wrong_peers: counts so far.
    """

    def __init__(
        self,
        uid: str,
        broker: tuple[str, int],
        techniques: tuple[Technique, ...],
        *,
        identity: Identity,
        kind: StreamKind,
        take: Take,
        birthday: bool = True,
    ) -> None:
        self.uid = uid
        self.scope: trio.CancelScope = trio.CancelScope()
        self.failure: P2PError | None = None
        self.registered: int = 0
        self.introduced: int = 0
        self.failed: int = 0
        self.forbidden: int = 0
        self.wrong_peers: int = 0
        self._broker = broker
        self._identity = identity
        self._capabilities = (*techniques, kind)
        self._take = take
        self._nonces: dict[bytes, None] = {}
        self._surroundings = Surroundings()
        self._birthday = birthday
        self._reachability: Reachability
        self._ipv6 = IPv6Presence(uid, identity, on_stranger=self._note_stranger)
        self._errands = Errands()
        self._under_way = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stay registered until cancelled, or until the broker does not want us any more.

        Raises:
            P2PError: the first registration failed.
        """
        with self.scope:
            async with open_background_nursery() as nursery:
                backoff = Backoff()
                while True:
                    before, network = self.registered, current_network()
                    try:
                        await self._register(nursery, task_status)
                    except _PASSING_ERRORS as error:
                        if not self.registered:
                            raise
                        logger.warning("%r is not registered now: %s", self.uid, error)
                    except P2PError as error:
                        if not self.registered:
                            raise
                        logger.warning("%r cannot be registered any more: %s", self.uid, error)
                        self.failure = error
                        return
                    if self.registered > before:
                        backoff.reset()
                    await backoff.rest(network)

    async def _register(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        """Register once; returns never, but raises when the registration ends.

        Args:
            nursery: owns what may outlive the registration.
            task_status: started with the first one.
        """
        async with (
            await find_broker(self._broker, self._capabilities) as connection,
            open_background_nursery() as background,
        ):
            background.start_soon(connection.keep_alive)
            self._surroundings = self._surroundings.here()
            # At once: the first introduction may come as soon as we are registered.
            background.start_soon(self._surroundings.learn_hops, connection)
            challenge = await connection.receive_challenge()
            signature = self._identity.sign_registration(challenge, self.uid)
            await connection.send(Register(self.uid, self._identity.certificate, signature))
            reply = await connection.receive()
            if not isinstance(reply, Registered):
                raise unexpected(reply)
            logger.debug("%r is registered; the broker sees us at %s", self.uid, reply.endpoint)
            reachability = self._reachability = Reachability(
                connection, reply.endpoint, self._surroundings, birthday=self._birthday
            )
            try:
                base = self._start_base(background, connection)
                # Its end may take a second, and is not to be waited for before we register again.
                nursery.start_soon(reachability.run)
                if connection.remote.address.version == 4 and 6 in ip_versions_of(self._broker[0]):
                    background.start_soon(self._ipv6.run, self._broker)
                self.registered += 1
                if self.registered == 1:
                    task_status.started()
                while True:
                    message = await connection.receive()
                    self._introduce(message, connection, base, nursery)
            finally:
                reachability.scope.cancel(reason="the registration has ended")
                with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                    await connection.send(Kill())

    def _introduce(
        self,
        message: Message,
        connection: BrokerConnection,
        base: Base,
        nursery: trio.Nursery,
    ) -> None:
        connect: _Connect
        match message:
            case SenderEndpoint():
                footing = self._footing(message.endpoint.address.version, connection, base)
                connect = partial(self._connect_fast, message, footing, connection.round_trip)
            case ConnectionRequest():
                footing = self._footing(message.ip_version, connection, base)
                connect = partial(self._connect_classic, message, footing)
            case RelayRequest():
                connect = partial(join_relay, connection.remote, message)
            case _:
                raise unexpected(message)
        self.introduced += 1
        if self._under_way == MAX_INTRODUCTIONS:
            self.failed += 1
            logger.warning("%r has too many introductions under way; one ignored", self.uid)
            return
        self._under_way += 1
        nursery.start_soon(self._connect, connect, isinstance(message, RelayRequest))

    def _footing(self, ip_version: int, connection: BrokerConnection, base: Base) -> Footing:
        is_other = ip_version != connection.remote.address.version
        if is_other and self._ipv6.footing is not None:
            return self._ipv6.footing
        side = self._reachability.side
        return Footing(connection.remote, base, side, self._surroundings)

    async def _connect(self, connect: _Connect, is_relay: bool) -> None:
        try:
            with trio.move_on_after(INTRODUCTION_TIME) as scope:
                connection = await connect()
                if connection is not None:  # else the sender has another one already
                    await self._take(connection, scope)
                return
            logger.info("no connection came of an introduction to %r", self.uid)
        except (P2PError, OSError) as error:
            # A sender that has found one path leaves the others as they are: no news.
            is_hostile = isinstance(error, (NotAdmittedError, WrongPeerError))
            is_left = is_relay or isinstance(error, PathLostError)
            level = logging.DEBUG if is_left and not is_hostile else logging.WARNING
            self.wrong_peers += isinstance(error, WrongPeerError)
            logger.log(level, "an introduction to %r failed: %s", self.uid, error)
        finally:
            self._under_way -= 1
        self.failed += not is_relay

    async def _connect_fast(
        self, message: SenderEndpoint, footing: Footing, round_trip: float
    ) -> PeerConnection | None:
        """Punch from the registration's port, or that which the broker has seen over IPv6."""
        introduction = Introduction.of(
            Technique.FAST,
            message,
            footing.side,
            broker=footing.broker.address,
            broker_round_trip=round_trip,
        )
        logger.debug("told of the sender at %s: punching, and listening", message.endpoint)
        return await self._punch(introduction, footing.base, footing.guard_hops)

    async def _connect_classic(
        self, request: ConnectionRequest, footing: Footing
    ) -> PeerConnection | None:
        """Steps 3 to 9: punch from a fresh port, and tell the broker."""
        punched = None
        try:
            async with open_background_nursery() as nursery:
                punched = await self._punch_classic(request, footing, nursery)
        except BaseException:
            if punched is not None:
                punched.close()
            raise
        return punched

    async def _punch_classic(
        self, request: ConnectionRequest, footing: Footing, nursery: trio.Nursery
    ) -> PeerConnection | None:
        async with await connect_to_broker([footing.broker], self._capabilities) as connection:
            logger.debug("step 3: acknowledging from %s", connection.local)
            nat = footing.surroundings.nat
            offer = make_offer(nat, connection.local, birthday=self._birthday)
            await connection.send(Acknowledge(request.introduction, offer))
            message = await connection.receive()
            if not isinstance(message, SenderEndpoint):
                raise unexpected(message)
            # Before step 5: the port must stay ours.
            base = self._start_base(nursery, connection)
        introduction = Introduction.of(
            Technique.CLASSIC,
            message,
            attrs.evolve(footing.side, offer=offer),
            broker=footing.broker.address,
            broker_round_trip=connection.round_trip,
        )
        logger.debug("steps 4 and 5: told of the sender at %s", message.endpoint)
        logger.debug("steps 6 to 8: punching, held, and listening")

        def report() -> None:
            nursery.start_soon(self._report_punched, footing.broker, request)

        return await self._punch(introduction, base, footing.guard_hops, on_punched=report)

    async def _report_punched(self, broker: Endpoint, request: ConnectionRequest) -> None:
        try:
            async with await connect_to_broker([broker], self._capabilities) as connection:
                logger.debug("step 9: the hole is punched")
                await connection.send(HolePunched(request.introduction))
        except P2PError as error:
            logger.warning("cannot report the punched hole to the broker: %s", error)

    async def _punch(
        self,
        introduction: Introduction,
        base: Base,
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
                base,
                introduction,
                guard_hops=guard_hops,
                on_attempt=self._note_attempt,
                on_punched=on_punched,
            )

        ip_version = introduction.peer.endpoint.address.version
        return await self._errands.connect(introduction.errand, ip_version, connect)

    def _start_base(self, nursery: trio.Nursery, connection: BrokerConnection) -> Base:
        return start_base(nursery, connection.local, asks=False, on_stranger=self._note_stranger)

    def _note_stranger(self) -> None:
        self.wrong_peers += 1

    def _note_attempt(self, attempt: Attempt) -> None:
        logger.debug("%s", attempt)
        self.forbidden += attempt.outcome is Outcome.FORBIDDEN
        self.wrong_peers += attempt.outcome is Outcome.WRONG_PEER
