"""The connection to the broker that everything shares: kept, and made again when it is lost."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import (
    asynccontextmanager,
    contextmanager,
    suppress,
)

import trio

from .._attempt import Technique
from .._broker_client.resolve import BrokerFinder
from .._errors import BrokerLostError, P2PError
from .._nat.local_network import LocalNetwork
from .._nat.survey_cache import SurveyCache
from .._net.backoff import Backoff
from .._net.barrier import Barrier
from .._net.network_changes import Network, current_network
from .._net.nursery import open_background_nursery
from .._net.os_errors import explain
from .._options import PeerOptions
from .._stream.open_streams import OpenStreams
from .._traversal.shared_port import start_shared_port
from .broker_link import BrokerLink
from .watches import Registrations, Watches

# Seconds. Until a version of IP is tried again by which the broker was not reached, while another
# one leads there: this host may be without it for good.
MIN_OTHER_PAUSE, MAX_OTHER_PAUSE = 60.0, 3600.0
# Until we greet although nothing has asked for anything: what asks first brings the greeting along.
GREETING_DELAY = 0.1

logger = logging.getLogger("trio_p2p.control")


class Control:
    """The connection to the broker by one version of IP.

    It is made when it is needed first, and kept; when it is lost, it is made again as soon as
    something needs it.

    Args:
        broker: finds it.
        ip_version: 4 or 6.
        options: the peer's.
        streams: the peer's, which own the tasks.
        surveys: what surveys of NATs have found.

    Attributes:
        others: those by the other versions of IP.
        strangers: how many connections were closed whose other side has not proven itself.
    """

    def __init__(
        self,
        broker: BrokerFinder,
        ip_version: int,
        options: PeerOptions,
        streams: OpenStreams,
        surveys: SurveyCache,
    ) -> None:
        self.ip_version = ip_version
        self.others: Sequence[Control] = ()
        self.strangers: int = 0
        self._watches = Watches()
        self._broker = broker
        self._options = options
        self._streams = streams
        self._network = LocalNetwork(surveys, ip_version)
        self._link: BrokerLink | None = None
        self._error: P2PError | None = None
        self._failures = 0
        self._needs = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._is_running = False
        self._pause = trio.CancelScope()
        self._has_greeted = False  # on the last connection
        self._backoff = Backoff()
        self._other_backoff = Backoff(MIN_OTHER_PAUSE, MAX_OTHER_PAUSE)

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
            with self.needed():
                failures = self._failures
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
            self._streams.nursery.start_soon(self._keep)
        self._changed.unpark_all()
        try:
            yield
        finally:
            self._needs -= 1

    @asynccontextmanager
    async def open_fresh_link(self, techniques: Sequence[Technique]) -> AsyncGenerator[BrokerLink]:
        """Another connection, from a fresh port, kept alive as long as the context lasts.

        Args:
            techniques: what to greet the broker with.

        Raises:
            BrokerUnreachableError: no broker answers there.
            P2PError: this host has no descriptor left, or another program has the port.
        """
        async with (
            await self._broker.find(techniques, self.ip_version) as connection,
            open_background_nursery() as background,
        ):
            try:
                shared_port = start_shared_port(
                    background, connection.local, on_stranger=self._note_stranger
                )
            except OSError as error:
                text = f"this host cannot accept connections: {explain(error)}"
                raise P2PError(text) from error
            link = BrokerLink(
                connection, shared_port, self.local_network, self._options, self._streams.nursery
            )
            background.start_soon(link.receive)
            background.start_soon(connection.keep_alive)
            try:
                yield link
            finally:
                await link.quit()  # noqa: ASYNC102 - it shields itself, for a second

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
            error: P2PError = P2PError("the connection to the broker has failed: see the log")
            with Barrier(logger, "keeping a connection to the broker"):
                error = await self._hold_link()
            self._error = error
            self._failures += 1
            self._changed.unpark_all()
            logger.info("no connection to the broker over IPv%d: %s", self.ip_version, error)
            with trio.CancelScope() as self._pause:
                await self._rest(network)

    async def _hold_link(self) -> P2PError:
        """Connect, and wait until the connection is lost; why it is, or could not be made."""
        self._has_greeted = False
        try:
            async with self.open_fresh_link(self._options.techniques) as link:
                self._link = link
                self._changed.unpark_all()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._note_working, link)
                    nursery.start_soon(self._keep_watching, link, nursery)
                    await link.ended.wait()
                    nursery.cancel_scope.cancel(reason="the connection is lost")
                self._has_greeted = link.has_greeted
                assert link.lost is not None
                return link.lost
        except P2PError as error:
            return error
        except OSError as error:
            failure = P2PError(f"this host cannot connect to the broker: {explain(error)}")
            failure.__cause__ = error
            return failure
        finally:
            self._link = None

    async def _note_working(self, link: BrokerLink) -> None:
        await trio.sleep(GREETING_DELAY)
        with suppress(BrokerLostError):  # the task that receives is told
            await link.greet()
        await link.wait_greeted()
        if link.has_greeted:
            self._backoff.works()
            self._other_backoff.reset()

    def _note_stranger(self) -> None:
        self.strangers += 1

    async def _keep_watching(self, link: BrokerLink, nursery: trio.Nursery) -> None:
        """Have the broker tell of what is watched, and pass it on."""
        asked: set[str] = set()

        async def ask() -> None:
            while True:
                await _ask(link, self._watches, asked)
                await self._watches.changed.park()

        nursery.start_soon(ask)
        async for uid in link.news:
            asked.discard(uid)
            # Asked again before anything that it wakes runs, so that none is missed.
            await _ask(link, self._watches, asked)
            self._streams.nursery.start_soon(self._watches.note_registration, uid)

    async def _rest(self, network: Network) -> None:
        is_elsewhere = any(other.link is not None for other in self.others)
        if is_elsewhere and not self._has_greeted:
            await self._other_backoff.rest(network)
        else:
            await self._backoff.rest(network, is_awaited=self._is_awaited)

    def _is_awaited(self) -> bool:
        return self._streams.is_any_without_path


async def _ask(link: BrokerLink, watches: Watches, asked: set[str]) -> None:
    gone, new = watches.to_forget(asked), watches.to_ask(asked)
    asked.difference_update(gone)
    asked.update(new)
    with suppress(BrokerLostError):  # the task that receives is told
        if gone:
            await link.unwatch(*gone)
        if new:
            await link.watch(*new)
