"""What is said over a connection to the broker: which answer, refusal or sender is for what.

Requests, names and watches have numbers of one series. The broker answers a request by its number,
and tells of a sender by the number of the name that the sender asks for. A refusal is for the
number that it carries, whatever has that, and concerns nothing else.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias, TypeVar

import trio

from .._broker_client.connection import BrokerConnection, unexpected
from .._broker_client.refusals import error_of
from .._errors import BrokerLostError, P2PError
from .._net.barrier import Barrier
from .._wire.messages import (
    MAX_WATCHED,
    ConnectionRequest,
    Draining,
    IntroductionRequest,
    Message,
    ReceiverEndpoint,
    Refused,
    Register,
    Registered,
    RegisteredAgain,
    RelayRequest,
    SenderEndpoint,
    Watch,
)
from .handover import HandedOverError
from .registered_name import RegisteredName

MAX_DECLINED: Final = 64  # introductions that nothing has asked about yet
CLOSED: Final = "the connection to the broker was closed: try again"
_DECLINED: Final = "the receiver has declined"

logger = logging.getLogger("trio_p2p.control")


_Answer: TypeAlias = ReceiverEndpoint | Registered | Refused
A = TypeVar("A", ReceiverEndpoint, Registered)


class Dialogue:
    """All that is asked over one connection, until that is lost.

    Attributes:
        has_greeted: whether the broker has.
        lost: why nothing can be asked any more, or None.
        ended: set when nothing can.
        news: the UIDs that were registered again.
        draining: what the broker has said when it was going away, or None.
        leaving: set when it has, or when nothing can be asked any more.
        retired: set when another connection has taken over.
    """

    def __init__(self, connection: BrokerConnection) -> None:
        self.has_greeted: bool = False
        self.lost: P2PError | None = None
        self.ended = trio.Event()
        self.draining: Draining | None = None
        self.leaving = trio.Event()
        self.retired = trio.Event()
        self._put_news, self.news = trio.open_memory_channel[str](MAX_WATCHED)
        self._connection = connection
        self._greeted = trio.Event()
        self._numbers = itertools.count()
        self._heard = 0  # messages
        self._answers: dict[int, trio.MemorySendChannel[_Answer]] = {}
        self._blocks: dict[int, trio.CancelScope] = {}  # of until_declined()
        self._declined: dict[int, P2PError] = {}
        self._names: dict[int, RegisteredName] = {}
        self._watches: dict[int | None, str] = {}

    def next_number(self) -> int:
        """A number that nothing else has."""
        return next(self._numbers)

    async def answer_to(
        self, request: IntroductionRequest | Register, seconds: float, answered_by: type[A]
    ) -> A:
        """Ask, and wait for the answer.

        Args:
            request: what to ask.
            seconds: for how long.
            answered_by: what the answer has to be.

        Raises:
            P2PError: the broker refuses it, or does not answer in time, or is lost. It counts as
                lost if it does not answer a registration, or has said nothing else meanwhile.
        """
        if self.lost is not None:
            raise self.lost
        heard = self._heard
        put, got = trio.open_memory_channel[_Answer](1)
        self._answers[request.number] = put
        answer: _Answer | None = None
        try:
            with trio.move_on_after(seconds):
                await self._connection.send(request)
                answer = await got.receive()
        except trio.EndOfChannel:
            assert self.lost is not None
            raise self.lost from None
        finally:
            self._answers.pop(request.number, None)
        if answer is None:
            error = self._connection.silent(seconds)
            owes_only_this = answered_by is ReceiverEndpoint and self._heard > heard
            raise error if owes_only_this else self.lose(error)
        if isinstance(answer, Refused):
            raise error_of(answer, self._connection.remote, request.uid)
        if not isinstance(answer, answered_by):
            raise self.lose(unexpected(answer))
        return answer

    @contextmanager
    def until_declined(self, number: int) -> Generator[None]:
        """Cancel a block when the receiver declines the introduction that was asked for.

        Args:
            number: the request's, which has just been answered.

        Raises:
            BusyError: it has.
        """
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

    @contextmanager
    def naming(self, number: int, uid: str) -> Generator[RegisteredName]:
        """Pass on the senders that ask for a name while the block lasts.

        Args:
            number: the registration's.
            uid: the name.
        """
        name = self._names[number] = RegisteredName(uid)
        try:
            yield name
        finally:
            del self._names[number]
            name.end(self.lost)

    def note_watches(self, watches: Iterable[Watch]) -> None:
        """Note watches before they are sent: a refusal of one is logged, and no more."""
        self._watches.update((watch.number, watch.uid) for watch in watches)
        while len(self._watches) > MAX_WATCHED:
            del self._watches[next(iter(self._watches))]

    def lose(self, error: P2PError) -> P2PError:
        """End everything that was asked, and ask nothing more.

        Args:
            error: why the connection is lost.

        Returns:
            The first error that the connection was lost by.
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
            self.leaving.set()
        return self.lost

    def retire(self) -> None:
        """Hold no names any more: they are going to be registered over another connection."""
        self.retired.set()
        for name in self._names.values():
            name.end(HandedOverError("another connection to a broker has taken over"))

    async def wait_greeted(self) -> None:
        """Wait until the broker has greeted, or the connection is lost."""
        await self._greeted.wait()

    async def receive(self) -> None:
        """Pass on what the broker says, until the connection is lost, and everything with it.

        If cancelled, :meth:`lose` has to be called.
        """
        with Barrier(logger, "receiving what the broker says"):
            try:
                await self._connection.wait_greeted()
                self.has_greeted = True
                self._greeted.set()
                while self.lost is None:  # an answer may come when it is not waited for any more
                    message = await self._connection.receive()
                    self._heard += 1
                    if self.lost is None:
                        self._take(message)
            except P2PError as error:
                self.lose(error)
        self.lose(BrokerLostError(CLOSED))

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
            case Draining():
                self.draining = message
                self.leaving.set()
            case RegisteredAgain(uid=uid):
                with suppress(trio.WouldBlock):  # more than was asked for
                    self._put_news.send_nowait(uid)
            case _:
                raise unexpected(message)

    def _note_refused(self, number: int, refused: Refused) -> None:
        if number in self._names:
            name = self._names[number]
            name.end(error_of(refused, self._connection.remote, name.uid))
            return
        if number in self._watches:
            uid = self._watches.pop(number)
            logger.info("the broker does not tell who registers as %r: %s", uid, refused.reason)
            return
        self._declined[number] = error_of(refused, self._connection.remote)
        if number in self._blocks:
            self._blocks[number].cancel(reason=_DECLINED)
        elif len(self._declined) > MAX_DECLINED:
            del self._declined[next(iter(self._declined))]
