"""Turns what the broker tells a receiver of senders into connections."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import trio

from .._attempt import Outcome, Technique
from .._control.broker_link import BrokerLink
from .._control.controls import Controls
from .._control.registered_name import Introducing
from .._errors import NotAdmittedError, P2PError, PathLostError, WrongPeerError
from .._identity.peer_id import PeerId
from .._net.barrier import Barrier
from .._net.log_limit import RepeatedLine
from .acceptor import Accepting
from .guessing import GuessingPermits
from .incoming_introduction import IncomingIntroduction
from .probation import Probation
from .puncher import Puncher
from .slots import Holder, Slot, Slots

logger = logging.getLogger("trio_p2p.receiver")

MAX_INTRODUCTIONS = 256  # under way at a time
INTRODUCTION_TIME = 15.0  # seconds; no sender tries one technique for longer
MAX_DECLINING = 64  # answers at a time that wait for a broker that does not read


class Introductions:
    """The introductions to a receiver, whichever of its registrations they come over.

    Args:
        uid: the receiver's.
        techniques: by which to be introduced.
        acceptor: makes of a connection what the application wants of it.
        controls: the peer's connections to the broker.
        admit: says which peers are admitted; all if None.

    Attributes:
        acceptor: the argument of this name.
        introduced, failed: counts so far.
    """

    def __init__(
        self,
        uid: str,
        techniques: Sequence[Technique],
        acceptor: Accepting,
        controls: Controls,
        *,
        admit: Callable[[PeerId], bool] | None,
    ) -> None:
        self.introduced: int = 0
        self.failed: int = 0
        self._wrong_peers = 0
        self._outcomes: Counter[Outcome] = Counter()  # of introductions that have ended
        self._uid = uid
        self.acceptor = acceptor
        self._nursery = controls.connections.nursery
        self._puncher = Puncher(
            controls.broker,
            techniques,
            port_guessing=controls.options.port_guessing,
            permits=GuessingPermits(uid, admit, controls.guesses),
        )
        self._slots = Slots(MAX_INTRODUCTIONS)
        self._under_way: dict[Slot, IncomingIntroduction] = {}
        self._declining = 0
        self._declined_line = RepeatedLine(logger, logging.WARNING)
        self._failed_lines = {
            level: RepeatedLine(logger, level) for level in (logging.WARNING, logging.DEBUG)
        }

    def start(self, message: Introducing, link: BrokerLink) -> None:
        """Begin to connect to a sender, or decline to.

        Args:
            message: what the broker says of the sender.
            link: what the message came over.
        """
        introduction = IncomingIntroduction(message, link)
        self.introduced += 1
        slot = self._find_slot(introduction.holder)
        if slot is None:
            self.failed += 1
            text = "an introduction to %r was declined: too many are under way"
            self._declined_line.say(trio.current_time(), text, self._uid)
            self._decline(introduction)
            return
        self._under_way[slot] = introduction
        self._nursery.start_soon(self._run, introduction, slot)

    def end(self) -> None:
        """End all connecting, as the name is not registered any more.

        What is connected already goes on: by then a session may have left its former path for it.
        """
        for introduction in self._under_way.values():
            introduction.connecting.cancel(reason="the listener is closed")

    @property
    def wrong_peers(self) -> int:
        """How many connections did not lead to the peer that was introduced."""
        return self._wrong_peers + self._puncher.strangers.count + self._count(Outcome.WRONG_PEER)

    @property
    def forbidden(self) -> int:
        """How many endpoints were not dialled, although the broker or a sender has named them."""
        return self._count(Outcome.FORBIDDEN)

    def _count(self, outcome: Outcome) -> int:
        under_way = sum(each.attempts.count(outcome) for each in self._under_way.values())
        return self._outcomes[outcome] + under_way

    def _find_slot(self, holder: Holder) -> Slot | None:
        """Take a slot, perhaps from another introduction; None if the newcomer has to wait."""
        if self._slots.is_full:
            loser = self._slots.giving_way_to(holder)
            if loser is None:
                return None
            self._slots.release(loser)
            self._under_way[loser].scope.cancel(reason="it gives way to another sender")
            self._decline(self._under_way[loser])
        return self._slots.take(holder)

    def _decline(self, introduction: IncomingIntroduction) -> None:
        """Let a sender know that there is no room for it, whichever way it hears first."""
        introduction.decline_at_port()
        if self._declining < MAX_DECLINING:
            self._declining += 1
            self._nursery.start_soon(self._tell_declined, introduction)

    async def _tell_declined(self, introduction: IncomingIntroduction) -> None:
        try:
            await introduction.tell_declined()
        finally:
            self._declining -= 1

    async def _run(self, introduction: IncomingIntroduction, slot: Slot) -> None:
        try:
            with Barrier(logger, f"an introduction to {self._uid!r}"):
                await self._connect(introduction, slot)
        finally:
            self._slots.release(slot)
            del self._under_way[slot]
            self._outcomes.update(attempt.outcome for attempt in introduction.attempts.ended)

    async def _connect(self, introduction: IncomingIntroduction, slot: Slot) -> None:
        is_relayed = introduction.is_relayed
        try:
            with introduction.scope as scope:
                scope.deadline = trio.current_time() + INTRODUCTION_TIME
                connection = await introduction.connect(self._puncher)
                if connection is not None:  # else none is needed any more
                    await self.acceptor.take(connection, Probation(scope, slot))
                return
            why = "in time" if slot in self._slots else "before it gave way to another sender"
            logger.info("introduction to %r led to no connection %s", self._uid, why)
        except (P2PError, OSError) as error:
            # A sender that has found one path leaves the others as they are: no news.
            is_hostile = isinstance(error, (NotAdmittedError, WrongPeerError))
            is_left = is_relayed or isinstance(error, PathLostError)
            level = logging.DEBUG if is_left and not is_hostile else logging.WARNING
            self._wrong_peers += isinstance(error, WrongPeerError)
            text = "introduction to %r failed: %s"
            self._failed_lines[level].say(trio.current_time(), text, self._uid, error)
        self.failed += not is_relayed
