"""Keeps a local TCP port mapped by the router: asks for it, renews it, deletes it in the end."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from .._addresses import Endpoint, endpoint_of, is_public
from .._net.gateway import open_multicast_listener
from .._net.network_changes import current_network, wait_network_changed
from .._net.nursery import open_background_nursery
from .attempts import Grant, MappingFailedError, MappingProtocol, PortMappingError
from .mappers import Mapper
from .pcp import ANNOUNCEMENT_PORT, MAX_MESSAGE_BYTES
from .routers import ALL_PROTOCOLS, DELETION_TIME, choose, delete_mappings, find_router, mappers_for
from .timers import Lease, retry_pauses

logger = logging.getLogger("trio_p2p.nat")

# Seconds. RFC 6886, 3.3, recommends two hours. But another address of the router may go unnoticed
# for half of the lifetime, if its announcements do not reach us or it makes none; and the mapping
# of a process that was killed should not stay for long.
LIFETIME = 600

_JITTER = random.SystemRandom()  # without a state: processes that fork are not in step


@attrs.define(eq=False)
class PortMapping:
    """A local TCP port that the router maps, as :func:`open_port_mapping` gives it.

    Attributes:
        internal_port: the local TCP port.
        external: where the router says that it is reached; None while the mapping is lost.
        protocol: the protocol in which it was mapped last.
        lifetime: for how many seconds the router granted it last.
        changed_at: when the external endpoint last changed, by Trio's clock.
    """

    internal_port: int
    external: Endpoint | None
    protocol: MappingProtocol
    lifetime: float
    changed_at: float
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def is_public(self) -> bool:
        """Whether the external address belongs to the internet.

        If not, another NAT stands behind the router, and no host beyond it reaches the port so.
        """
        return self.external is not None and is_public(self.external.address)

    async def wait_changed(self, known: Endpoint | None) -> Endpoint | None:
        """Wait until the external endpoint is another one than a known one, and return it."""
        await trio.lowlevel.checkpoint()
        while self.external == known:
            await self._changed.wait()
        return self.external

    def update(self, protocol: MappingProtocol, grant: Grant) -> None:
        """Note what the router granted. Only the task that keeps the mapping calls it."""
        self.protocol, self.lifetime = protocol, grant.lifetime
        self._move_to(grant.external)

    def lose(self) -> None:
        """Note that the mapping is lost. Only the task that keeps it calls it."""
        self._move_to(None)

    def _move_to(self, external: Endpoint | None) -> None:
        if external != self.external:
            logger.info("port %d mapped to %s", self.internal_port, external)
            self.external = external
            self.changed_at = trio.current_time()
            self._changed.set()
            self._changed = trio.Event()


@asynccontextmanager
async def open_port_mapping(
    port: int,
    *,
    lifetime: int = LIFETIME,
    protocols: Sequence[MappingProtocol] = ALL_PROTOCOLS,
) -> AsyncGenerator[PortMapping]:
    """Have a local TCP port mapped by the router as long as the context is open.

    A router that answers maps it within milliseconds, in UPnP within about a second; to find out
    that none does takes about ten seconds. The mapping is renewed at half of its lifetime, and at
    once when the router tells that it has restarted or has another address, or when this host is
    in another network. When that fails for too long the mapping is lost, and asked for anew from
    time to time. It is deleted at the end, also when cancelled, which takes no longer than a
    second.

    Args:
        port: the local TCP port.
        lifetime: for how many seconds to ask; the router may grant another time.
        protocols: in which protocols to ask, in this order.

    Raises:
        PortMappingError: the router mapped it in no protocol.
    """
    keeper = _Keeper(port, lifetime, protocols)
    try:
        mapping = await keeper.open()
        async with open_background_nursery() as nursery:
            nursery.start_soon(keeper.keep, mapping)
            nursery.start_soon(keeper.watch_network)
            nursery.start_soon(keeper.hear_announcements)
            yield mapping
    finally:
        with trio.move_on_after(DELETION_TIME, shield=True):
            await keeper.close()


class _Keeper:
    """Asks for the mapping, and keeps it."""

    def __init__(self, port: int, lifetime: int, protocols: Sequence[MappingProtocol]) -> None:
        self._port = port
        self._lifetime = lifetime
        self._protocols = protocols
        self._router = find_router()
        self._mappers = mappers_for(self._router, port)
        self._mapper: Mapper | None = None  # the one that made the mapping
        self._lease = Lease.begin(trio.current_time(), lifetime, _JITTER.random)
        self._nudged = trio.Event()

    async def open(self) -> PortMapping:
        """Ask for the mapping for the first time.

        Raises:
            PortMappingError: the router mapped the port in no protocol.
        """
        protocol, grant = await self._map(None)
        now = trio.current_time()
        return PortMapping(self._port, grant.external, protocol, grant.lifetime, now)

    async def close(self) -> None:
        """Delete the mapping, or whatever came of attempts to make one."""
        await delete_mappings(self._mappers.values())

    async def keep(self, mapping: PortMapping) -> None:
        """Renew the mapping until cancelled, and get it back when it is lost."""
        while True:
            await self._wait_for_renewal()
            if find_router() != self._router:
                logger.info("router changed, asking the new one for a port mapping")
                await self._get_back(mapping)
                continue
            assert self._mapper is not None
            try:
                grant = await self._mapper.map(self._lifetime, mapping.external)
            except MappingFailedError as error:
                logger.info("port mapping not renewed: %s", error)
                self._lease.renewal_failed(trio.current_time())
                if self._lease.is_over(trio.current_time()):
                    await self._get_back(mapping)
            else:
                self._begin_lease(grant)
                mapping.update(self._mapper.protocol, grant)

    async def watch_network(self) -> None:
        """Look around whenever this host's addresses change, until cancelled."""
        network = current_network()
        while True:
            network = await wait_network_changed(network)
            self._nudged.set()

    async def hear_announcements(self) -> None:
        """Renew the mapping when the router announces that it forgot it, until cancelled."""
        sock = open_multicast_listener(ANNOUNCEMENT_PORT)
        if sock is None:
            logger.debug("router announcements not received: their port is in use")
            return
        with sock:
            while True:
                data, sender = await sock.recvfrom(MAX_MESSAGE_BYTES + 1)
                if (
                    self._router is not None
                    and self._mapper is not None
                    and endpoint_of(sender).address == self._router.server.address
                    and self._mapper.has_been_forgotten(data)
                ):
                    logger.info("router announced that it lost its port mappings")
                    self._lease.router_forgot(trio.current_time())
                    self._nudged.set()

    async def _wait_for_renewal(self) -> None:
        """Wait until it is time to renew the mapping, or this host is in another network."""
        while trio.current_time() < self._lease.renew_at and find_router() == self._router:
            await self._sleep_until(self._lease.renew_at)

    async def _get_back(self, mapping: PortMapping) -> None:
        """Try to get a mapping that is lost back, until there is one."""
        wanted = mapping.external
        mapping.lose()
        with trio.move_on_after(DELETION_TIME):
            await delete_mappings(self._mappers.values())
        pauses = retry_pauses(_JITTER.random)
        while True:
            router = find_router()
            if router != self._router:
                self._router = router
                self._mappers = mappers_for(router, self._port)
            try:
                mapping.update(*await self._map(wanted))
            except PortMappingError as error:
                logger.info("no port mapping: %s", error)
                await self._sleep_until(trio.current_time() + next(pauses))
            else:
                return

    async def _sleep_until(self, deadline: float) -> None:
        """Sleep, but not longer than until :meth:`nudge`."""
        with trio.move_on_at(deadline):
            await self._nudged.wait()
        self._nudged = trio.Event()

    async def _map(self, wanted: Endpoint | None) -> tuple[MappingProtocol, Grant]:
        """Ask in one protocol after the other."""
        failures: list[MappingFailedError] = []
        for protocol in self._protocols:
            try:
                mapper = choose(self._mappers, protocol)
                grant = await self._try(mapper, wanted)
            except MappingFailedError as error:
                failures.append(error)
            else:
                self._mapper = mapper
                self._begin_lease(grant)
                return protocol, grant
        raise PortMappingError(failures)

    async def _try(self, mapper: Mapper, wanted: Endpoint | None) -> Grant:
        try:
            return await mapper.map(self._lifetime, wanted)
        except MappingFailedError:
            mapper.forget()
            raise

    def _begin_lease(self, grant: Grant) -> None:
        # What the router grants beyond our request does not keep us from looking after it.
        lifetime = min(grant.lifetime, self._lifetime)
        self._lease = Lease.begin(trio.current_time(), lifetime, _JITTER.random)
