"""The sender: asks a broker for a UID, and connects to the receiver that registered it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from ._broker_link import BrokerLink, open_broker_link
from ._errors import BrokerLostError, P2PError, Technique, UnknownUIDError
from ._introduction import OnAttempt
from ._net.nursery import open_background_nursery
from ._parameters import (
    ALL_TECHNIQUES,
    BrokerAddress,
    parse_broker,
    parse_techniques,
    parse_uid,
)
from ._rounds import Round, open_in_rounds, open_over_link, open_over_new_link

logger = logging.getLogger("trio_p2p.sender")

MAX_KEPT_LINKS = 8  # idle connections to the broker
MAX_ASKED = 1024  # UIDs that one of them was used for


async def open_p2p_stream(
    uid: str,
    broker: BrokerAddress,
    *,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    on_attempt: OnAttempt | None = None,
) -> trio.SocketStream:
    """Connect to the receiver that is registered with a broker under a UID.

    Args:
        uid: the receiver's UID; text of 1 to 128 bytes in UTF-8.
        broker: ``"HOST:PORT"`` or a tuple of both.
        techniques: by which techniques to be introduced, in this order, until one leads to a
            stream: ``"fast"``, ``"classic"``.
        on_attempt: called with each :class:`Attempt` to connect when it has ended, the
            successful one included. Must not raise.

    Returns:
        A stream that leads directly to the receiver. The receiver's proof of being the one that
        the broker introduced is checked when the first bytes are received, because waiting for
        it would take a round trip: ``receive_some`` raises :exc:`trio.BrokenResourceError`
        rather than return anything from somebody else.

    Raises:
        UnknownUIDError: no receiver is registered under the UID.
        IntroductionError: the broker introduced us, but no connection came of it. The causes
            are in the exception group that is its ``__cause__``.
        BrokerUnreachableError: no broker answers there.
        BrokerLostError: the broker closed the connection.
        LocalProtocolError: an argument is wrong.
        ProtocolError: this is not a broker, or not one of this version.

    If cancelled, everything that was under way is closed.
    """
    address = parse_broker(broker)
    return await open_in_rounds(
        parse_uid(uid),
        parse_techniques(techniques),
        on_attempt,
        partial(open_over_new_link, address),
    )


class P2PSender:
    """Opens streams over connections to the broker that it keeps; see :func:`open_p2p_sender`.

    A second stream to the same receiver needs another local port, therefore another connection
    to the broker; one is kept ready.
    """

    def __init__(
        self, broker: tuple[str, int], techniques: tuple[Technique, ...], nursery: trio.Nursery
    ) -> None:
        self._broker = broker
        self._techniques = techniques
        self._nursery = nursery
        self._links: list[BrokerLink] = []

    async def open_stream(
        self, uid: str, *, on_attempt: OnAttempt | None = None
    ) -> trio.SocketStream:
        """Connect to the receiver that is registered under a UID.

        Like :func:`open_p2p_stream`, with the same arguments, errors and behaviour when
        cancelled, but without the round trip of connecting to the broker. Any number of tasks
        may call this at the same time. The streams outlive the sender.
        """
        return await open_in_rounds(
            parse_uid(uid), self._techniques, on_attempt, self._open_in_round
        )

    async def _open_in_round(self, round_: Round) -> trio.SocketStream | None:
        if round_.technique is Technique.CLASSIC:
            # The broker closes the connection (step 11): not one to keep.
            return await open_over_new_link(self._broker, round_)
        for link in self._links:
            if link.lost is None and round_.uid not in link.asked:
                try:
                    return await self._open_over(link, round_)
                except BrokerLostError:
                    logger.debug("a kept connection to the broker was stale")
                    break
        link = await self._nursery.start(self._keep_link, round_.uid)
        return await self._open_over(link, round_)

    async def _open_over(self, link: BrokerLink, round_: Round) -> trio.SocketStream | None:
        link.asked.add(round_.uid)
        if all(round_.uid in kept.asked for kept in self._links):
            self._nursery.start_soon(self._keep_spare_link)
        link.users += 1
        try:
            return await open_over_link(link, round_)
        except UnknownUIDError:
            link.asked.discard(round_.uid)  # there is no stream between our endpoint and another
            raise
        finally:
            link.users -= 1
            self._drop_links()

    async def _keep_link(self, uid: str, *, task_status: trio.TaskStatus[BrokerLink]) -> None:
        async with open_broker_link(self._broker, self._techniques) as link:
            link.asked.add(uid)
            await self._keep(link, task_status)

    async def _keep_spare_link(self) -> None:
        try:
            async with open_broker_link(self._broker, self._techniques) as link:
                await link.greet()
                await self._keep(link)
        except (P2PError, OSError) as error:
            logger.info("no spare connection to the broker: %s", error)

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


@asynccontextmanager
async def open_p2p_sender(
    broker: BrokerAddress, *, techniques: Sequence[str] = ALL_TECHNIQUES
) -> AsyncGenerator[P2PSender]:
    """Keep connections to a broker, for opening many streams without connecting to it each time.

    Use as an async context manager. Leaving it closes the connections to the broker; the streams
    live on.

    Args:
        broker: ``"HOST:PORT"`` or a tuple of both.
        techniques: as for :func:`open_p2p_stream`.

    Yields:
        The :class:`P2PSender`. The first connection is made when the first stream is opened.

    Raises:
        LocalProtocolError: an argument is wrong.
    """
    address, chosen = parse_broker(broker), parse_techniques(techniques)
    async with open_background_nursery() as nursery:
        yield P2PSender(address, chosen, nursery)
