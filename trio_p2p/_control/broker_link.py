"""A live connection to the broker, and the local port that it shares: all that is said over it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager, suppress

import trio

from .._addresses import Endpoint, Vantage
from .._attempt import Technique
from .._broker_client.connection import (
    ANSWER_TIME,
    FAREWELL_TIME,
    INTRODUCTION_TIME,
    BrokerConnection,
)
from .._errors import BrokerLostError, P2PError
from .._nat.local_network import LocalNetwork
from .._options import PeerOptions
from .._traversal.candidates import make_offer
from .._traversal.introduction import Introduction
from .._traversal.shared_port import SharedPort
from .._traversal.strategy import Side
from .._wire.messages import (
    Draining,
    IntroductionRequest,
    Kill,
    Message,
    ReceiverEndpoint,
    Register,
    Registered,
    StreamKind,
    Unregister,
    Unwatch,
    Watch,
)
from .._wire.offer import Opening
from .claims import Claims
from .dialogue import CLOSED, Dialogue
from .reachability import LocalSide, Reachability
from .registered_name import RegisteredName

logger = logging.getLogger("trio_p2p.control")


class BrokerLink:
    """A connection to the broker: asks for receivers, holds names, watches.

    Attributes:
        shared_port: what to dial and accept from.
        remote: where the broker is.
        ip_version: 4 or 6, by which it is reached.
        claims: which introductions have the port.
        asked: the UIDs whose receivers have been introduced to the port.
        ended: set when it is of no use any more.
        news: the UIDs that were registered again.
        leaving: set when the broker goes away, or the link is of no use any more.
        retired: set when another link has taken over.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        shared_port: SharedPort,
        local_network: LocalNetwork,
        options: PeerOptions,
        nursery: trio.Nursery,
    ) -> None:
        self.shared_port = shared_port
        self.remote: Endpoint = connection.remote
        self.ip_version = connection.remote.address.version
        self.claims: Claims = Claims()
        self.asked: set[str] = set()
        self.local_network = local_network
        self._connection = connection
        self._dialogue = Dialogue(connection)
        self.ended: trio.Event = self._dialogue.ended
        self.leaving: trio.Event = self._dialogue.leaving
        self.retired: trio.Event = self._dialogue.retired
        self.news: trio.MemoryReceiveChannel[str] = self._dialogue.news
        self._options = options
        self._nursery = nursery
        self._reachability: Reachability | None = None

    @property
    def has_greeted(self) -> bool:
        """Whether the broker has greeted."""
        return self._dialogue.has_greeted

    @property
    def lost(self) -> P2PError | None:
        """Why the link is of no use any more, or None."""
        return self._dialogue.lost

    @property
    def draining(self) -> Draining | None:
        """What the broker has said when it was going away."""
        return self._dialogue.draining

    @property
    def vantage(self) -> Vantage:
        """Where this host stands towards the broker."""
        return self._connection.vantage

    @property
    def _gives_names_back(self) -> bool:
        """Whether to; those of a link that gives way last until others have taken their place."""
        return self.lost is None and not self.retired.is_set()

    @property
    def round_trip(self) -> float:
        """The round trip to the broker in seconds; 0 if the system does not say."""
        return self._connection.round_trip

    @property
    def guard_hops(self) -> int:
        """How many hops a guarded SYN should live."""
        observed = self._connection.observed
        return self.local_network.guard_hops(None if observed is None else observed.address)

    @property
    def local_side(self) -> LocalSide:
        """From where a receiver that is registered over it meets senders."""
        assert self._reachability is not None
        side = self._reachability.side
        return LocalSide(self.remote, self.shared_port, side, self.local_network)

    async def ask(
        self, uid: str, technique: Technique, kind: StreamKind, *, opening: Opening, search: bytes
    ) -> Introduction:
        """Ask the broker for a receiver.

        Args:
            uid: the receiver's.
            technique: how to be introduced.
            kind: what the connection is for.
            opening: how to begin.
            search: what the receiver recognises introductions for the same connection by.

        Raises:
            UnknownUIDError: no receiver is registered under the UID.
            BusyError: the broker or the receiver has no room for it now.
            IntroductionError: the broker could not introduce us by this technique.
            BrokerUnreachableError: no broker has greeted.
            BrokerLostError: the connection broke, or no answer came in time.
            P2PError: the broker refuses it.
        """
        # All but the fast technique wait for the receiver.
        seconds = ANSWER_TIME if technique is Technique.FAST else INTRODUCTION_TIME
        identity, guesses = self._options.identity, self._options.port_guessing
        request = IntroductionRequest(
            self._dialogue.next_number(),
            uid,
            technique,
            kind,
            identity.certificate,
            make_offer(
                self.local_network.nat,
                self._connection.local,
                port_guessing=guesses,
                opening=opening,
            ),
            search,
            # A receiver guesses only for peers whose identity is proven, and which it admits.
            identity.sign_introduction(search, uid) if guesses else None,
        )
        answer = await self._dialogue.answer_to(request, seconds, ReceiverEndpoint)
        own = Side(self._connection.observed or self._connection.local, request.offer)
        return Introduction.of(
            technique,
            answer,
            own,
            vantage=self._connection.vantage,
            broker_round_trip=self._connection.round_trip,
        )

    def claimed(self, introduction: Introduction) -> AbstractContextManager[None]:
        """Have the port towards the peer of an introduction that we have asked for.

        Raises:
            ClaimedError: another introduction has it, perhaps since the block has begun.
        """
        return self.claims.claimed(introduction.peer.endpoint, self._options.identity.peer_id)

    def until_declined(self, introduction: Introduction) -> AbstractContextManager[None]:
        """Cancel a block when the receiver declines the introduction that the block is for.

        Args:
            introduction: what :meth:`ask` has just returned.

        Raises:
            BusyError: it has.
        """
        return self._dialogue.until_declined(introduction.number)

    @asynccontextmanager
    async def registered(
        self, uid: str, kind: StreamKind, instance: bytes
    ) -> AsyncGenerator[RegisteredName]:
        """Hold a name while the block lasts.

        Args:
            uid: the name.
            kind: which streams to accept under the name.
            instance: what tells this program from others of the same identity.

        Raises:
            UIDTakenError: a receiver of another identity is registered under the UID.
            P2PError: the broker refuses it, or is lost.
        """
        # At once: the first introduction may come as soon as the name is registered.
        self._nursery.start_soon(self.local_network.learn_hops, self._connection)
        await self.greet()
        await self.wait_greeted()
        if self.lost is not None:
            raise self.lost
        number = self._dialogue.next_number()
        try:
            with self._dialogue.naming(number, uid) as name:  # introductions may come at once
                await self._register(number, uid, kind, instance)
                yield name
        finally:
            if self._gives_names_back:
                with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                    await self._connection.send(Unregister(number))

    async def _register(self, number: int, uid: str, kind: StreamKind, instance: bytes) -> None:
        connection, identity = self._connection, self._options.identity
        signature = identity.sign_registration(connection.challenge, self.remote, uid)
        request = Register(
            number, uid, kind, instance, self.remote, identity.certificate, signature
        )
        answer = await self._dialogue.answer_to(request, ANSWER_TIME, Registered)
        version, seen_at, network = self.ip_version, answer.endpoint, self.local_network
        logger.debug("%r is registered over IPv%d; we are seen at %s", uid, version, seen_at)
        if self._reachability is None:
            guesses = self._options.port_guessing
            self._reachability = Reachability(connection, seen_at, network, port_guessing=guesses)
            self._nursery.start_soon(self._reachability.run)

    async def watch(self, *uids: str) -> None:
        """Have the broker tell once, as :attr:`news`, when these UIDs are registered.

        Raises:
            BrokerLostError: the connection broke.
        """
        watches = [Watch(uid, self._dialogue.next_number()) for uid in uids]
        self._dialogue.note_watches(watches)
        await self._connection.send(*watches)

    async def unwatch(self, *uids: str) -> None:
        """Have the broker not tell of these UIDs any more.

        Raises:
            BrokerLostError: the connection broke.
        """
        await self._connection.send(*map(Unwatch, uids))

    async def send(self, message: Message) -> None:
        """Tell the broker something that it does not answer; raises BrokerLostError."""
        await self._connection.send(message)

    def retire(self) -> None:
        """Hold no names any more: another link has taken over."""
        self._dialogue.retire()

    async def learn(self) -> None:
        """Find out what our NATs do, but not whom they let in: we would be connected already."""
        await self.local_network.learn(self._connection, asks_filtering=False)

    async def quit(self) -> None:
        """End everything, and tell the broker so if it holds names for us; also when cancelled."""
        has_names = self._reachability is not None and self.lost is None
        self._dialogue.lose(BrokerLostError(CLOSED))
        if self._reachability is not None:
            self._reachability.scope.cancel(reason="the connection to the broker has ended")
        if has_names:
            with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                await self._connection.send(Kill())

    async def greet(self) -> None:
        """Greet the broker, if nothing has been said to it yet.

        Raises:
            BrokerLostError: the connection broke.
        """
        await self._connection.send()

    async def wait_greeted(self) -> None:
        """Wait until the broker has greeted, or the link is lost."""
        await self._dialogue.wait_greeted()

    async def receive(self) -> None:
        """Pass on what the broker says, until the connection is lost, and everything with it.

        If cancelled, :meth:`quit` has to end everything.
        """
        await self._dialogue.receive()
