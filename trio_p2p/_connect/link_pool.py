"""The connections to the broker that a sender keeps."""

from __future__ import annotations

import logging

import trio

from .._attempt import Technique
from .._errors import BrokerLostError, P2PError, UnknownUIDError
from .._net.barrier import Barrier
from .._peer_connection import PeerConnection
from .broker_link import BrokerLink, open_broker_link
from .rounds import Round, open_over_link, open_over_new_link

logger = logging.getLogger("trio_p2p.sender")

MAX_KEPT_LINKS = 8  # idle connections to the broker
MAX_ASKED = 1024  # UIDs that one of them was used for


class LinkPool:
    """Connections to a broker that are used again and again.

    A second connection to the same receiver needs another local port, therefore another
    connection to the broker; one is kept ready.

    Args:
        broker: host and port.
        techniques: what to greet the broker with.
        nursery: owns the connections.
    """

    def __init__(
        self, broker: tuple[str, int], techniques: tuple[Technique, ...], nursery: trio.Nursery
    ) -> None:
        self._broker = broker
        self._techniques = techniques
        self._nursery = nursery
        self._links: list[BrokerLink] = []
        self._coming: set[int] = set()  # the versions of IP by which a spare link is being opened

    async def open_in_round(self, round_: Round) -> PeerConnection | None:
        """A round's connection, over a link that is kept if there is one."""
        if round_.technique is Technique.CLASSIC:
            # The broker closes the connection (step 11): not one to keep.
            return await open_over_new_link(self._broker, round_)
        for link in self._links:
            is_right = link.ip_version == round_.ip_version
            if is_right and link.lost is None and round_.uid not in link.asked:
                _reserve(link, round_)
                try:
                    return await self._open_over(link, round_)
                except BrokerLostError:
                    logger.debug("pooled broker connection is stale, opening another")
                    break
        return await self._open_over(await self._nursery.start(self._keep_link, round_), round_)

    async def _open_over(self, link: BrokerLink, round_: Round) -> PeerConnection | None:
        """A round's connection, over a link that is reserved for it."""
        self._prepare_spare_link(round_)
        try:
            return await open_over_link(link, round_)
        except UnknownUIDError:
            link.asked.discard(round_.uid)  # there is no stream between our endpoint and another
            raise
        finally:
            link.users -= 1
            self._drop_links()

    async def _keep_link(self, round_: Round, *, task_status: trio.TaskStatus[BrokerLink]) -> None:
        async with open_broker_link(self._broker, self._techniques, round_.ip_version) as link:
            _reserve(link, round_)  # before anybody may find it idle
            await self._keep(link, task_status)

    def _prepare_spare_link(self, round_: Round) -> None:
        """Open a link for the next stream to the same receiver, unless one is there or coming."""
        alike = (link for link in self._links if link.ip_version == round_.ip_version)
        if round_.ip_version not in self._coming and all(round_.uid in one.asked for one in alike):
            self._coming.add(round_.ip_version)
            self._nursery.start_soon(self._keep_spare_link, round_.ip_version)

    async def _keep_spare_link(self, ip_version: int) -> None:
        with Barrier(logger, "keeping a spare connection to the broker"):
            try:
                async with open_broker_link(self._broker, self._techniques, ip_version) as link:
                    await link.greet()
                    self._coming.discard(ip_version)
                    await self._keep(link)
            except (P2PError, OSError) as error:
                logger.info("no spare connection to the broker: %s", error)
            finally:
                self._coming.discard(ip_version)

    async def _keep(
        self,
        link: BrokerLink,
        task_status: trio.TaskStatus[BrokerLink] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._links.append(link)
        try:
            task_status.started(link)
            await link.ended.wait()
        finally:
            self._links.remove(link)

    def _drop_links(self) -> None:
        idle = [link for link in self._links if not link.users]
        for link in idle[: max(0, len(self._links) - MAX_KEPT_LINKS)]:
            link.ended.set()
        for link in idle:
            if len(link.asked) >= MAX_ASKED:
                link.ended.set()


def _reserve(link: BrokerLink, round_: Round) -> None:
    """Use a link for a round; no other one to the same receiver may have it."""
    link.asked.add(round_.uid)
    link.users += 1
