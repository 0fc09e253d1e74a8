"""The connection to the broker that everything shares: kept, and made again when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    contextmanager,
    suppress,
)

import trio

from .._attempt import Technique
from .._broker_client.finder import BrokerFinder
from .._errors import BrokerLostError, P2PError
from .._nat.local_network import LocalNetwork
from .._nat.survey_cache import SurveyCache
from .._net.barrier import Barrier
from .._net.network_changes import Network, current_network
from .._net.os_errors import explain
from .._options import PeerOptions
from .._stream.open_connections import OpenConnections
from .._traversal.shared_port import Strangers
from .._wire.messages import Draining
from .broker_link import BrokerLink
from .fresh_link import open_link
from .handover import HandedOverError, Turn, stay_away, wait_useless
from .patience import Patience
from .watches import Registrations, Watches

# Seconds until the broker is greeted although nothing was asked of it. A request before that sends
# the greeting along.
GREETING_DELAY = 0.1
HOME_TIME = 30.0  # seconds from one look to the next whether a better broker is there again

logger = logging.getLogger("trio_p2p.control")


class Control:
    """The connection to the broker by one version of IP.

    It is made when it is needed first, and kept; when it is lost, it is made again as soon as
    something needs it.

    Args:
        broker: finds it.
        ip_version: 4 or 6.
        options: the peer's.
        connections: the connections to other peers, which own the tasks.
        surveys: what surveys of NATs have found.

    Attributes:
        others: the connections to the broker by the other versions of IP.
        strangers: the connections to its ports whose other side has not proven itself.
    """

    def __init__(
        self,
        broker: BrokerFinder,
        ip_version: int,
        options: PeerOptions,
        connections: OpenConnections,
        surveys: SurveyCache,
    ) -> None:
        self.ip_version = ip_version
        self.others: Sequence[Control] = ()
        self.strangers: Strangers = Strangers()
        self._watches = Watches()
        self._broker = broker
        self._options = options
        self._connections = connections
        self._network = LocalNetwork(surveys, ip_version)
        self._link: BrokerLink | None = None
        self._error: P2PError | None = None
        self._failures = 0
        self._needs = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._is_running = False
        self._pause = trio.CancelScope()
        self._is_sent_away = False
        self._has_greeted = False  # on the last connection
        self._patience = Patience(self._is_awaited)

    @property
    def local_network(self) -> LocalNetwork:
        """What is known of the network that this host is in."""
        self._network = self._network.here()
        return self._network

    @property
    def link(self) -> BrokerLink | None:
        """The live connection, if there is one."""
        link = self._link
        return link if link is not None and link.lost is None else None

    async def use(self) -> BrokerLink:
        """The connection; it is made at once if there is none.

        Raises:
            P2PError: it could not be made.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.link is None:
            self._patience.check_busy()
            with self.needed():
                failures = self._failures
                if not self._is_sent_away:
                    self._pause.cancel(reason="the connection is wanted at once")
                while self.link is None:
                    if self._failures > failures:
                        assert self._error is not None
                        raise self._error
                    await self._changed.park()
        assert self._link is not None
        return self._link

    async def wait_link(self) -> BrokerLink:
        """The connection, however long it takes until there is one again."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with self.needed():
            while (link := self.link) is None:
                await self._changed.park()
        return link

    @contextmanager
    def needed(self) -> Generator[None]:
        """Have the connection made again whenever it is lost while the block lasts."""
        self._needs += 1
        if not self._is_running:
            self._is_running = True
            self._connections.nursery.start_soon(self._keep)
        self._changed.unpark_all()
        try:
            yield
        finally:
            self._needs -= 1

    def open_fresh_link(
        self, techniques: Sequence[Technique]
    ) -> AbstractAsyncContextManager[BrokerLink]:
        """Another connection, from a fresh port, kept alive as long as the context lasts.

        Args:
            techniques: what to greet the broker with.

        Raises:
            BrokerUnreachableError: no broker answers there.
            P2PError: this host has no descriptor left, or another program has the port.
        """
        return open_link(
            self._broker,
            techniques,
            self.ip_version,
            self._options,
            self._connections.nursery,
            local_network=lambda: self.local_network,
            strangers=self.strangers,
        )

    @contextmanager
    def watching(self, uid: str) -> Generator[Registrations]:
        """Be told of the registrations of a UID while the block lasts."""
        with self.needed(), self._watches.watching(uid) as registrations:
            yield registrations

    async def _keep(self) -> None:
        while True:
            while not self._needs:
                await self._changed.park()
            network = current_network(self.ip_version)
            turn = Turn()
            self._connections.nursery.start_soon(self._hold_apart, turn)
            await turn.over.wait()
            if turn.goes_home:
                continue
            if turn.draining is not None:
                await self._leave(turn.draining, network, is_sent_on=turn.is_sent_on)
                continue
            self._error = turn.error
            self._failures += 1
            self._changed.unpark_all()
            logger.info("no connection to the broker over IPv%d: %s", self.ip_version, turn.error)
            with trio.CancelScope() as self._pause:
                await self._rest(network, turn.error)

    async def _leave(self, notice: Draining, network: Network, *, is_sent_on: bool) -> None:
        """Wait until there may be another connection, as the broker of this one goes away."""
        logger.info("the broker goes away; IPv%d goes on elsewhere, or later", self.ip_version)
        if is_sent_on:
            await self._patience.rest(network, None, is_spare=False)
            return
        self._is_sent_away = True
        try:
            await stay_away(notice, network, self._patience.next_pause())
        finally:
            self._is_sent_away = False

    async def _hold_apart(self, turn: Turn) -> None:
        """Hold a connection until it is lost; beyond its turn if the broker goes away."""
        with Barrier(logger, "keeping a connection to the broker"):
            try:
                turn.error = await self._hold_link(turn)
            finally:
                turn.over.set()

    async def _hold_link(self, turn: Turn) -> P2PError:
        """Connect, and wait until the connection is lost; why it is, or could not be made."""
        self._has_greeted = False
        link: BrokerLink | None = None
        try:
            async with self.open_fresh_link(self._options.techniques) as link:
                await self._take_over(link)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._note_working, link)
                    nursery.start_soon(self._keep_watching, link, nursery)
                    if self._broker.is_spare(link.remote):
                        nursery.start_soon(self._go_home, link, turn)
                    await link.leaving.wait()
                    nursery.cancel_scope.cancel(reason="the connection is lost, or will be")
                self._has_greeted = link.has_greeted
                if link.lost is None:
                    turn.draining = notice = link.draining
                    turn.is_sent_on = notice is not None and self._broker.move_to_untrusted(
                        notice.brokers, link.remote, link.vantage
                    )
                    turn.over.set()
                    await wait_useless(link.ended, link.retired)
                return link.lost or HandedOverError("another connection has taken over")
        except P2PError as error:
            return error
        except OSError as error:
            failure = P2PError(f"this host cannot connect to the broker: {explain(error)}")
            failure.__cause__ = error
            return failure
        finally:
            if self._link is link:
                self._link = None

    async def _take_over(self, link: BrokerLink) -> None:
        """Use a connection from now on, instead of one whose broker goes away.

        Raises:
            P2PError: it is of no use.
        """
        old = self.link
        if old is not None:  # it is better than one whose broker does not even greet
            await link.greet()
            await link.wait_greeted()
            if link.lost is not None:
                raise link.lost
        self._link = link
        self._changed.unpark_all()
        if old is not None:
            old.retire()

    async def _go_home(self, link: BrokerLink, turn: Turn) -> None:
        """Leave a spare broker as soon as one is there that stands before it."""
        is_there = False
        while not is_there:
            await trio.sleep(HOME_TIME)
            is_there = await self._broker.is_better_there(link.remote, self.ip_version)
        logger.info("a better broker is there again; IPv%d goes on with it", self.ip_version)
        turn.goes_home = True
        link.leaving.set()

    async def _note_working(self, link: BrokerLink) -> None:
        await trio.sleep(GREETING_DELAY)
        with suppress(BrokerLostError):  # the task that receives is told
            await link.greet()
        await link.wait_greeted()
        if link.has_greeted:
            self._patience.works()

    async def _keep_watching(self, link: BrokerLink, nursery: trio.Nursery) -> None:
        """Have the broker tell of what is watched, and pass it on."""
        asked: set[str] = set()

        async def ask() -> None:
            while True:
                await self._watches.ask(link, asked)
                await self._watches.changed.park()

        nursery.start_soon(ask)
        async for uid in link.news:
            asked.discard(uid)
            # Asked again before anything that it wakes runs, so that none is missed.
            await self._watches.ask(link, asked)
            self._connections.nursery.start_soon(self._watches.note_registration, uid)

    async def _rest(self, network: Network, error: P2PError) -> None:
        is_elsewhere = any(other.link is not None for other in self.others)
        is_spare = is_elsewhere and not self._has_greeted
        await self._patience.rest(network, error, is_spare=is_spare)

    def _is_awaited(self) -> bool:
        return self._connections.is_any_without_path
