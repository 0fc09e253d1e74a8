"""What a peer knows of the network that it is in."""

from __future__ import annotations

import logging

import trio

from .._addresses import IPAddress
from .._broker_client.connection import BrokerConnection
from .._net.barrier import Barrier
from .._net.network_changes import current_network
from .._wire.offer import Nat
from .behaviour import DEFAULT_GUARD_HOPS, guard_hops
from .probe import near_hops
from .survey_cache import SurveyCache, is_complete

logger = logging.getLogger("trio_p2p.nat")


class LocalNetwork:
    """The NATs between this host and the internet, as far as they have been looked at.

    Args:
        surveys: what surveys have found so far, here and elsewhere.
        ip_versions: the versions of IP that it is for; both if none is given.

    Attributes:
        nat: what they do.
    """

    def __init__(self, surveys: SurveyCache, *ip_versions: int) -> None:
        self._surveys = surveys
        self.nat: Nat = Nat()
        self._network = current_network(*ip_versions)
        self._hops: list[IPAddress | None] = []
        self._hops_from: IPAddress | None = None
        self._tracing = trio.Lock()

    @property
    def is_surveyed(self) -> bool:
        """Whether all that a survey may find out is known, including which hosts are let in."""
        return is_complete(self.nat, asks_filtering=True)

    def here(self) -> LocalNetwork:
        """Return self, or a fresh instance if the host has changed networks."""
        versions = self._network.ip_versions
        is_here = self._network == current_network(*versions)
        return self if is_here else LocalNetwork(self._surveys, *versions)

    async def learn(self, connection: BrokerConnection, *, asks_filtering: bool) -> None:
        """Look, unless everything is known; takes some round trips.

        Args:
            connection: to the broker, which has greeted us.
            asks_filtering: whether to find out, too, which hosts are let in.
        """
        local = connection.local.address
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.learn_hops, connection)
            self.nat = await self._surveys.nat(
                connection.remote,
                connection.probes,
                local=local,
                reflexive=local if connection.observed is None else connection.observed.address,
                asks_filtering=asks_filtering,
            )
        logger.debug("NAT behaviour: %s", self.nat)

    async def learn_hops(self, connection: BrokerConnection) -> None:
        """Find out which routers are near, unless it is known from here."""
        async with self._tracing:
            if self._hops_from == connection.local.address:
                return
            with Barrier(logger, "finding out which routers are near"):
                self._hops = await near_hops(connection.remote)
            self._hops_from = connection.local.address
        logger.debug(
            "routers on the path to the broker: %s",
            ", ".join(str(hop or "?") for hop in self._hops),
        )

    def guard_hops(self, reflexive: IPAddress | None) -> int:
        """How many hops a guarded SYN should live.

        Args:
            reflexive: this host's address as the broker sees it, if it says so.
        """
        return DEFAULT_GUARD_HOPS if reflexive is None else guard_hops(self._hops, reflexive)
