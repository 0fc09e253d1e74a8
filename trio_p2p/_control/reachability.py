"""Keeps the broker told of how a receiver can be reached."""

from __future__ import annotations

import logging
from contextlib import suppress

import attrs
import trio

from .._addresses import Endpoint, is_public, is_special
from .._broker_client.connection import BrokerConnection
from .._errors import BrokerLostError
from .._nat.local_network import LocalNetwork
from .._net.backoff import Backoff
from .._net.barrier import Barrier
from .._net.network_changes import current_network
from .._portmap.attempts import PortMappingError
from .._portmap.port_mapping import open_port_mapping
from .._portmap.routers import ALL_PROTOCOLS
from .._traversal.candidates import make_offer
from .._traversal.shared_port import SharedPort
from .._traversal.strategy import Side
from .._wire.messages import Update
from .._wire.offer import NO_OFFER

PROTOCOLS = ALL_PROTOCOLS
# Seconds until the router, or what the broker sees of the NATs, is asked for again.
MIN_MAPPING_PAUSE, MAX_MAPPING_PAUSE = 60.0, 3600.0

logger = logging.getLogger("trio_p2p.control")


@attrs.frozen
class LocalSide:
    """From where a receiver meets senders by one version of IP.

    Attributes:
        broker: where the broker is.
        shared_port: the port that senders are told of.
        side: what they are told.
        local_network: what is known of the network.
    """

    broker: Endpoint
    shared_port: SharedPort
    side: Side
    local_network: LocalNetwork

    @property
    def guard_hops(self) -> int:
        """How many hops a guarded SYN should live."""
        return self.local_network.guard_hops(self.side.endpoint.address)


class Reachability:
    """Finds out how one registration's port can be reached, and tells the broker.

    Args:
        connection: the registration.
        observed: where the broker sees the registration's port.
        local_network: what is known of the network, or going to be.
        port_guessing: whether to take part in guessing ports.

    Attributes:
        side: what has been said last.
        scope: cancel it to end :meth:`run`.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        observed: Endpoint,
        local_network: LocalNetwork,
        *,
        port_guessing: bool,
    ) -> None:
        self.side: Side = Side(observed, NO_OFFER)
        self.scope: trio.CancelScope = trio.CancelScope()
        self._connection = connection
        self._local_network = local_network
        self._port_guessing = port_guessing
        self._mapped: Endpoint | None = None

    async def run(self) -> None:
        """Find out, and tell the broker whatever has changed, until cancelled."""
        with self.scope, Barrier(logger, "finding out how this host can be reached"):
            async with trio.open_nursery() as nursery:
                await self._tell()
                nursery.start_soon(self._keep_mapped)
                nursery.start_soon(self._keep_surveyed)

    async def _keep_surveyed(self) -> None:
        """Look at the NATs, and again later if something did not answer."""
        backoff = Backoff(MIN_MAPPING_PAUSE, MAX_MAPPING_PAUSE)
        while True:
            await self._local_network.learn(self._connection, asks_filtering=True)
            await self._tell()
            if self._local_network.is_surveyed or not self._connection.probes:
                return
            await trio.sleep(backoff.next_pause())

    async def _keep_mapped(self) -> None:
        """Have the router map the port, if there is one between us and the internet.

        One that refuses is asked again later: it may have been set up otherwise by then.
        """
        local = self._connection.local
        if is_public(local.address) or is_special(local.address) or local.address.version != 4:
            return
        backoff = Backoff(MIN_MAPPING_PAUSE, MAX_MAPPING_PAUSE)
        while True:
            network = current_network(local.address.version)
            try:
                async with open_port_mapping(local.port, protocols=PROTOCOLS) as mapping:
                    while True:
                        self._mapped = mapping.external
                        await self._tell()
                        await mapping.wait_changed(self._mapped)
            except PortMappingError as error:
                logger.debug("the router maps no port: %s", error)
            await backoff.rest(network)

    async def _tell(self) -> None:
        offer = make_offer(
            self._local_network.nat,
            self._connection.local,
            mapped=self._mapped,
            port_guessing=self._port_guessing,
        )
        if offer != self.side.offer:
            self.side = attrs.evolve(self.side, offer=offer)
            with suppress(BrokerLostError):  # the task that receives is told
                await self._connection.send(Update(offer))
