"""The connections to the broker that a sender keeps."""

from __future__ import annotations

import logging

import trio

from .._attempt import Technique
from .._errors import BrokerLostError, P2PError, UnknownUIDError
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

    async def open_in_round(self, round_: Round) -> PeerConnection | None:
        """A round's connection, over a link that is kept if there is one."""
        if round_.technique is Technique.CLASSIC:
            # The broker closes the connection (step 11): not one to keep.
            return await open_over_new_link(self._broker, round_)
        for link in self._links:
            is_right = link.ip_version == round_.ip_version
            if is_right and link.lost is None and round_.uid not in link.asked:
                try:
                    return await self._open_over(link, round_)
                except BrokerLostError:
                    logger.debug("pooled broker connection is stale, opening another")
                    break
        link = await self._nursery.start(self._keep_link, round_)
        return await self._open_over(link, round_)

    async def _open_over(self, link: BrokerLink, round_: Round) -> PeerConnection | None:
        link.asked.add(round_.uid)
        alike = (kept for kept in self._links if kept.ip_version == link.ip_version)
        if all(round_.uid in kept.asked for kept in alike):
            self._nursery.start_soon(self._keep_spare_link, link.ip_version)
        link.users += 1
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
            link.asked.add(round_.uid)
            await self._keep(link, task_status)

    async def _keep_spare_link(self, ip_version: int) -> None:
        try:
            async with open_broker_link(self._broker, self._techniques, ip_version) as link:
                await link.greet()
                await self._keep(link)
        except (P2PError, OSError) as error:
            logger.info("spare broker connection not opened: %s", error)

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
