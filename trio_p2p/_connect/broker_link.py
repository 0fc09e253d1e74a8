"""A sender's connection to the broker: asks for receivers, several at a time."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager

import trio

from .._attempt import Technique
from .._broker_client.connection import (
    ANSWER_TIME,
    INTRODUCTION_TIME,
    BrokerConnection,
    unexpected,
)
from .._broker_client.refusals import error_of
from .._broker_client.resolve import find_broker
from .._errors import BrokerLostError, P2PError
from .._identity.identity import Identity
from .._nat.local_network import LocalNetwork
from .._net.barrier import Barrier
from .._net.nursery import open_background_nursery
from .._net.os_errors import explain
from .._traversal.candidates import make_offer
from .._traversal.introduction import Introduction
from .._traversal.shared_port import SharedPort, start_shared_port
from .._traversal.strategy import Side
from .._wire.messages import IntroductionRequest, KeepAlive, ReceiverEndpoint, Refused, StreamKind
from .._wire.offer import Nat, Opening

logger = logging.getLogger("trio_p2p.sender")
MAX_DECLINED = 64  # introductions that nothing has asked about yet

_DECLINED = "the receiver has declined"


class BrokerLink:
    """A connection to the broker, and the local port that it shares.

    Attributes:
        shared_port: what to dial and accept from.
        ip_version: 4 or 6, by which the broker is reached.
        asked: the UIDs asked for. Two streams between the same two endpoints cannot be, so that
            each UID may be asked for once.
        users: how many streams are being opened over it now.
        lost: why the link is of no use any more, or None.
        ended: set when it is of no use any more.
    """

    def __init__(self, connection: BrokerConnection, shared_port: SharedPort) -> None:
        self.shared_port = shared_port
        self.ip_version = connection.remote.address.version
        self.asked: set[str] = set()
        self.users = 0
        self.lost: P2PError | None = None
        self.ended = trio.Event()
        self._connection = connection
        self._numbers = itertools.count()
        self._answers: dict[int, trio.MemorySendChannel[ReceiverEndpoint | Refused]] = {}
        self._blocks: dict[int, trio.CancelScope] = {}  # of until_declined()
        self._declined: dict[int, P2PError] = {}

    async def ask(
        self,
        uid: str,
        technique: Technique,
        kind: StreamKind,
        identity: Identity,
        nat: Nat,
        *,
        port_guessing: bool,
        opening: Opening,
        search: bytes,
    ) -> Introduction:
        """Ask the broker for a receiver.

        Args:
            uid: the receiver's.
            technique: how to be introduced.
            kind: what the connection is for.
            identity: ours.
            nat: what is known of our NATs.
            port_guessing: whether to take part in guessing ports.
            opening: how to begin.
            search: what the receiver recognises introductions for the same connection by.

        Raises:
            UnknownUIDError: nobody is registered under the UID.
            BusyError: the broker or the receiver has no room for it now.
            IntroductionError: the broker could not introduce us by this technique.
            BrokerUnreachableError: no broker has greeted.
            BrokerLostError: the connection broke, or no answer came in time.
            P2PError: the broker refuses everything.
        """
        if self.lost is not None:
            raise self.lost
        # All but the fast technique wait for the receiver.
        seconds = ANSWER_TIME if technique is Technique.FAST else INTRODUCTION_TIME
        number = next(self._numbers)
        offer = make_offer(
            nat, self._connection.local, port_guessing=port_guessing, opening=opening
        )
        # A receiver guesses only for peers that it knows who they are, and admits.
        proof = identity.sign_introduction(search, uid) if port_guessing else None
        put, got = trio.open_memory_channel[ReceiverEndpoint | Refused](1)
        self._answers[number] = put
        answer: ReceiverEndpoint | Refused | None = None
        try:
            with trio.move_on_after(seconds):
                await self._connection.send(
                    IntroductionRequest(
                        number, uid, technique, kind, identity.certificate, offer, search, proof
                    )
                )
                answer = await got.receive()
        except trio.EndOfChannel:
            assert self.lost is not None
            raise self.lost from None
        finally:
            self._answers.pop(number, None)
        if answer is None:
            raise self.lose(self._connection.silent(seconds))
        if isinstance(answer, Refused):
            raise error_of(answer, self._connection.remote, uid)
        own = Side(self._connection.observed or self._connection.local, offer)
        return Introduction.of(
            technique,
            answer,
            own,
            vantage=self._connection.vantage,
            broker_round_trip=self._connection.round_trip,
        )

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

    async def learn(self, local_network: LocalNetwork) -> None:
        """Find out what our NATs do, unless it is known.

        Not whom they let in: had it been anybody, we would be connected already.
        """
        await local_network.learn(self._connection, asks_filtering=False)

    def guard_hops(self, local_network: LocalNetwork) -> int:
        """How many hops a guarded SYN should live."""
        observed = self._connection.observed
        return local_network.guard_hops(None if observed is None else observed.address)

    async def greet(self) -> None:
        """Greet the broker although there is nothing to ask yet."""
        await self._connection.send(KeepAlive())

    async def receive_answers(self) -> None:
        """Pass the answers on to whoever asked, until the connection is lost.

        However this ends, the link is lost, and everything that was asked has ended.
        """
        with Barrier(logger, "receiving the broker's answers"):
            try:
                while True:
                    match await self._connection.receive():
                        case (
                            ReceiverEndpoint(number=number) | Refused(number=int(number)) as answer
                        ):
                            # Nobody waits for it any more if that was cancelled.
                            if number in self._answers:
                                self._answers.pop(number).send_nowait(answer)
                            elif isinstance(answer, Refused):
                                self._note_declined(number, answer)
                        case message:
                            raise unexpected(message)
            except P2PError as error:
                self.lose(error)
            finally:
                self.lose(BrokerLostError("the connection to the broker was closed: try again"))

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
            self.ended.set()
        return self.lost

    def _note_declined(self, number: int, refused: Refused) -> None:
        self._declined[number] = error_of(refused, self._connection.remote)
        if number in self._blocks:
            self._blocks[number].cancel(reason=_DECLINED)
        elif len(self._declined) > MAX_DECLINED:
            del self._declined[next(iter(self._declined))]


@asynccontextmanager
async def open_broker_link(
    broker: tuple[str, int], techniques: Sequence[Technique], ip_version: int
) -> AsyncGenerator[BrokerLink]:
    """A link that is kept alive while the context lasts.

    Args:
        broker: host and port.
        techniques: what to greet it with.
        ip_version: 4 or 6: peers meet by that which they reach the broker by.

    Raises:
        BrokerUnreachableError: no broker answers there.
        P2PError: this host has no descriptor left, or another program has the port.
    """
    async with (
        await find_broker(broker, techniques, ip_version) as connection,
        open_background_nursery() as nursery,
    ):
        try:
            shared_port = start_shared_port(nursery, connection.local, asks=True)
        except OSError as error:
            raise P2PError(f"this host cannot accept connections: {explain(error)}") from error
        link = BrokerLink(connection, shared_port)
        nursery.start_soon(link.receive_answers)
        nursery.start_soon(connection.keep_alive)
        yield link
