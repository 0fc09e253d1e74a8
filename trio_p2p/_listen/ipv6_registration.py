"""Keeps a receiver that is registered over IPv4 registered over IPv6, too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import trio

from .._broker_client.connection import FAREWELL_TIME
from .._broker_client.resolve import find_broker
from .._errors import BrokerLostError, P2PError
from .._nat.local_network import LocalNetwork
from .._net.backoff import Backoff
from .._net.barrier import Barrier
from .._net.network_changes import current_network
from .._net.nursery import open_background_nursery
from .._traversal.strategy import Side
from .._wire.messages import Kill
from .._wire.offer import NO_OFFER
from .introductions import Introductions
from .own_name import OwnName
from .reachability import LocalSide

# Seconds until the next attempt: many hosts and brokers have no IPv6, and nothing fails for that.
MIN_RETRY_PAUSE, MAX_RETRY_PAUSE = 1.0, 60.0

logger = logging.getLogger("trio_p2p.receiver")


class IPv6Registration:
    """A second connection to the broker, on which the same name is registered.

    Args:
        broker: host and port.
        capabilities: what to greet the broker with.
        name: what is registered over IPv4.
        introductions: what is made of the senders that the broker tells of.
    """

    def __init__(
        self,
        broker: tuple[str, int],
        capabilities: Sequence[str],
        name: OwnName,
        introductions: Introductions,
    ) -> None:
        self._broker = broker
        self._capabilities = capabilities
        self._name = name
        self._introductions = introductions
        self._local_network = LocalNetwork(6)
        self._backoff = Backoff(MIN_RETRY_PAUSE, MAX_RETRY_PAUSE)
        self._scope: trio.CancelScope | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Be registered from now on, unless this is so already.

        Args:
            nursery: owns the connections.
        """
        if self._scope is None:
            self._scope = trio.CancelScope()
            nursery.start_soon(self._run, self._scope, nursery)

    def stop(self) -> None:
        """Give the registration back."""
        if self._scope is not None:
            self._scope.cancel(reason="the receiver registers over IPv6 alone")
            self._scope = None

    async def _run(self, scope: trio.CancelScope, nursery: trio.Nursery) -> None:
        """Register again and again, until cancelled."""
        with scope:
            while True:
                network = current_network(6)
                with Barrier(logger, f"keeping {self._name.uid!r} registered over IPv6"):
                    try:
                        await self._register(nursery)
                    except (P2PError, OSError) as error:
                        logger.debug("%r is not registered over IPv6: %s", self._name.uid, error)
                await self._backoff.rest(network)

    async def _register(self, nursery: trio.Nursery) -> NoReturn:
        """Register once; returns never, but raises when the registration ends."""
        async with (
            await find_broker(self._broker, self._capabilities, ip_version=6) as connection,
            open_background_nursery() as background,
        ):
            background.start_soon(connection.keep_alive)
            self._local_network = self._local_network.here()
            background.start_soon(self._local_network.learn_hops, connection)
            endpoint = await self._name.register(connection)
            self._backoff.works()
            logger.debug(
                "%r is registered over IPv6; the broker sees us at %s", self._name.uid, endpoint
            )
            try:
                shared_port = self._introductions.start_shared_port(background, connection)
                # An IPv6 host has its addresses for itself: there is nothing to offer beside.
                local_side = LocalSide(
                    connection.remote, shared_port, Side(endpoint, NO_OFFER), self._local_network
                )
                while True:
                    message = await self._name.receive(connection)
                    self._introductions.start(message, local_side, connection, nursery)
            finally:
                with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                    await connection.send(Kill())
