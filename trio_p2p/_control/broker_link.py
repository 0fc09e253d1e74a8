"""A live connection to the broker, and the local port that it shares: all that is said over it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import TypeAlias

import trio

from .._attempt import Technique
from .._broker_client.connection import (
    ANSWER_TIME,
    FAREWELL_TIME,
    INTRODUCTION_TIME,
    BrokerConnection,
    unexpected,
)
from .._broker_client.refusals import error_of
from .._errors import BrokerLostError, P2PError
from .._nat.local_network import LocalNetwork
from .._net.barrier import Barrier
from .._options import PeerOptions
from .._traversal.candidates import make_offer
from .._traversal.introduction import Introduction
from .._traversal.shared_port import SharedPort
from .._traversal.strategy import Side
from .._wire.messages import (
    MAX_WATCHED,
    ConnectionRequest,
    IntroductionRequest,
    Kill,
    Message,
    ReceiverEndpoint,
    Refused,
    Register,
    Registered,
    RegisteredAgain,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Unwatch,
    Watch,
)
from .._wire.offer import Opening
from .claims import Claims
from .reachability import LocalSide, Reachability

MAX_DECLINED = 64  # introductions that nothing has asked about yet
MAX_WAITING = 256  # introductions of one name that are not looked at yet
_CLOSED = "the connection to the broker was closed: try again"
_DECLINED = "the receiver has declined"

logger = logging.getLogger("trio_p2p.control")

Introducing: TypeAlias = SenderEndpoint | ConnectionRequest | RelayRequest
_Answer: TypeAlias = ReceiverEndpoint | Registered | Refused


class BrokerLink:
    """A connection to the broker: asks for receivers, holds names, watches.

    Attributes:
        shared_port: what to dial and accept from.
        remote: where the broker is.
        ip_version: 4 or 6, by which it is reached.
        claims: which introductions have the port.
        asked: the UIDs whose receivers have been introduced to the port.
        has_greeted: whether the broker has.
        lost: why the link is of no use any more, or None.
        ended: set when it is of no use any more.
        news: the UIDs that were registered again.
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
        self.remote = connection.remote
        self.ip_version = connection.remote.address.version
        self.claims = Claims()
        self.asked: set[str] = set()
        self.has_greeted: bool = False
        self.lost: P2PError | None = None
        self.ended = trio.Event()
        self._put_news, self.news = trio.open_memory_channel[str](MAX_WATCHED)
        self.local_network = local_network
        self._connection = connection
        self._greeted = trio.Event()
        self._options = options
        self._nursery = nursery
        self._numbers = itertools.count()
        self._answers: dict[int, trio.MemorySendChannel[_Answer]] = {}
        self._blocks: dict[int, trio.CancelScope] = {}  # of until_declined()
        self._declined: dict[int, P2PError] = {}
        self._names: dict[int, RegisteredName] = {}
        self._watching: dict[int | None, str] = {}
        self._reachability: Reachability | None = None

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
        number = next(self._numbers)
        identity, port_guessing = self._options.identity, self._options.port_guessing
        nat = self.local_network.nat
        offer = make_offer(
            nat, self._connection.local, port_guessing=port_guessing, opening=opening
        )
        # A receiver guesses only for peers that it knows who they are, and admits.
        proof = identity.sign_introduction(search, uid) if port_guessing else None
        certificate = identity.certificate
        answer = await self._answer_to(
            IntroductionRequest(number, uid, technique, kind, certificate, offer, search, proof),
            number,
            seconds,
            uid,
        )
        if not isinstance(answer, ReceiverEndpoint):
            raise self.lose(unexpected(answer))
        self.asked.add(uid)
        own = Side(self._connection.observed or self._connection.local, offer)
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
        me = self._options.identity.peer_id
        return self.claims.claimed(introduction.peer.endpoint, me)

    @contextmanager
    def until_declined(self, introduction: Introduction) -> Generator[None]:
        """Cancel a block when the receiver declines the introduction that the block is for.

        Args:
            introduction: what :meth:`ask` has just returned.

        Raises:
            BusyError: it has.
        """
        number = introduction.number
        scope = self._blocks[number] = trio.CancelScope()
        if number in self._declined:  # together with the introduction
            scope.cancel(reason=_DECLINED)
        try:
            with scope:
                yield
        finally:
            del self._blocks[number]
            error = self._declined.pop(number, None)
        if scope.cancelled_caught and error is not None:
            raise error

    @asynccontextmanager
    async def registered(
        self, uid: str, kind: StreamKind, instance: bytes
    ) -> AsyncGenerator[RegisteredName]:
        """Hold a name while the block lasts.

        Args:
            uid: the name.
            kind: which streams to accept under it.
            instance: what tells this program from others of the same identity.

        Raises:
            UIDTakenError: a receiver of another identity is registered under the UID.
            P2PError: the broker refuses it, or is lost.
        """
        number = next(self._numbers)
        # Before the answer: the first introduction may come right behind it.
        name = self._names[number] = RegisteredName(uid)
        try:
            await self._register(number, uid, kind, instance)
            yield name
        finally:
            del self._names[number]
            name.end(self.lost)
            if self.lost is None:
                with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                    await self._connection.send(Unregister(number))

    async def _register(self, number: int, uid: str, kind: StreamKind, instance: bytes) -> None:
        connection, identity = self._connection, self._options.identity
        # At once: the first introduction may come as soon as the name is registered.
        self._nursery.start_soon(self.local_network.learn_hops, connection)
        await self.greet()
        await self._greeted.wait()
        if self.lost is not None:
            raise self.lost
        challenge = connection.challenge
        signature = identity.sign_registration(challenge, self.remote, uid)
        request = Register(
            number, uid, kind, instance, self.remote, identity.certificate, signature
        )
        answer = await self._answer_to(request, number, ANSWER_TIME, uid)
        if not isinstance(answer, Registered):
            raise self.lose(unexpected(answer))
        logger.debug(
            "%r is registered over IPv%d; the broker sees us at %s",
            uid,
            self.ip_version,
            answer.endpoint,
        )
        if self._reachability is None:
            self._reachability = Reachability(
                connection,
                answer.endpoint,
                self.local_network,
                port_guessing=self._options.port_guessing,
            )
            self._nursery.start_soon(self._reachability.run)

    async def watch(self, *uids: str) -> None:
        """Have the broker tell once, as :attr:`news`, when these UIDs are registered.

        Raises:
            BrokerLostError: the connection broke.
        """
        watches = [Watch(uid, next(self._numbers)) for uid in uids]
        self._watching.update((watch.number, watch.uid) for watch in watches)
        while len(self._watching) > MAX_WATCHED:
            del self._watching[next(iter(self._watching))]
        await self._connection.send(*watches)

    async def unwatch(self, *uids: str) -> None:
        """Have the broker not tell of these UIDs any more.

        Raises:
            BrokerLostError: the connection broke.
        """
        await self._connection.send(*map(Unwatch, uids))

    async def send(self, message: Message) -> None:
        """Tell the broker something that it does not answer.

        Raises:
            BrokerLostError: the connection broke.
        """
        await self._connection.send(message)

    async def learn(self) -> None:
        """Find out what our NATs do, unless it is known.

        Not whom they let in: had it been anybody, we would be connected already.
        """
        await self.local_network.learn(self._connection, asks_filtering=False)

    def lose(self, error: P2PError) -> P2PError:
        """End everything that was asked, and ask nothing more.

        Args:
            error: why.

        Returns:
            The first error that the link was lost by.
        """
        if self.lost is None:
            self.lost = error
            for answers in self._answers.values():
                answers.close()
            for name in self._names.values():
                name.end(error)
            self._put_news.close()
            self._greeted.set()
            self.ended.set()
        return self.lost

    async def quit(self) -> None:
        """End everything, and tell the broker so if it holds names for us; also when cancelled."""
        has_names = self._reachability is not None and self.lost is None
        self.lose(BrokerLostError(_CLOSED))
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
        await self._greeted.wait()

    async def receive(self) -> None:
        """Pass on what the broker says, until the connection is lost, and everything with it.

        If cancelled, :meth:`quit` has to end everything.
        """
        with Barrier(logger, "receiving what the broker says"):
            try:
                await self._connection.wait_greeted()
                self.has_greeted = True
                self._greeted.set()
                while True:
                    self._take(await self._connection.receive())
            except P2PError as error:
                self.lose(error)
        self.lose(BrokerLostError(_CLOSED))

    def _take(self, message: Message) -> None:
        match message:
            case (
                ReceiverEndpoint(number=number)
                | Registered(number=number)
                | Refused(number=int(number)) as answer
            ):
                # Nothing waits for it any more if that was cancelled.
                if number in self._answers:
                    self._answers.pop(number).send_nowait(answer)
                elif isinstance(answer, Refused):
                    self._note_refused(number, answer)
            case (
                SenderEndpoint(registration=int(number))
                | ConnectionRequest(registration=int(number))
                | RelayRequest(registration=int(number)) as introducing
            ):
                if number in self._names:  # else it was given back meanwhile
                    self._names[number].put(introducing)
            case RegisteredAgain(uid=uid):
                with suppress(trio.WouldBlock):  # more than was asked for
                    self._put_news.send_nowait(uid)
            case _:
                raise unexpected(message)

    def _note_refused(self, number: int, refused: Refused) -> None:
        if number in self._names:
            name = self._names[number]
            name.end(error_of(refused, self.remote, name.uid))
            return
        if number in self._watching:
            uid = self._watching.pop(number)
            logger.info("the broker does not tell who registers as %r: %s", uid, refused.reason)
            return
        self._declined[number] = error_of(refused, self.remote)
        if number in self._blocks:
            self._blocks[number].cancel(reason=_DECLINED)
        elif len(self._declined) > MAX_DECLINED:
            del self._declined[next(iter(self._declined))]

    async def _answer_to(
        self, request: Message, number: int, seconds: float, uid: str
    ) -> ReceiverEndpoint | Registered:
        """What the broker answers to a request.

        Raises:
            P2PError: it refuses, or does not answer in time, or is lost.
        """
        if self.lost is not None:
            raise self.lost
        put, got = trio.open_memory_channel[_Answer](1)
        self._answers[number] = put
        answer: _Answer | None = None
        try:
            with trio.move_on_after(seconds):
                await self._connection.send(request)
                answer = await got.receive()
        except trio.EndOfChannel:
            assert self.lost is not None
            raise self.lost from None
        finally:
            self._answers.pop(number, None)
        if answer is None:
            raise self.lose(self._connection.silent(seconds))
        if isinstance(answer, Refused):
            raise error_of(answer, self.remote, uid)
        return answer


class RegisteredName:
    """A name that a link holds.

    Args:
        uid: the name.
    """

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self._put, self._got = trio.open_memory_channel[Introducing](MAX_WAITING)
        self._error: P2PError | None = None

    async def next_introduction(self) -> Introducing:
        """Wait for the next sender that the broker tells of.

        Raises:
            P2PError: the name is not held any more.
        """
        try:
            return await self._got.receive()
        except trio.EndOfChannel:
            assert self._error is not None
            raise self._error from None

    def put(self, introducing: Introducing) -> None:
        """The broker tells of a sender."""
        try:
            self._put.send_nowait(introducing)
        except trio.WouldBlock:
            logger.info("an introduction to %r is dropped: too many have come at once", self.uid)
        except trio.BrokenResourceError:
            logger.debug("an introduction to %r has come too late", self.uid)

    def end(self, error: P2PError | None) -> None:
        """The name is not held any more: for that reason, if none of our own."""
        self._error = self._error or error
        self._put.close()
