"""The router that is to map a port, and in which protocols it can be asked here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import attrs
import trio

from .._addresses import Endpoint, IPAddress
from .._net.gateway import find_default_gateway, local_address_towards
from .attempts import MappingFailedError, MappingOutcome, MappingProtocol
from .mappers import Mapper, NatPmpMapper, PcpMapper
from .pcp import SERVER_PORT
from .upnp import UpnpMapper

logger = logging.getLogger("trio_p2p.nat")

DELETION_TIME = 1.0  # seconds; what is not deleted by then ends by itself
ALL_PROTOCOLS = tuple(MappingProtocol)


@attrs.frozen
class Router:
    """The default gateway, as seen from this host.

    Attributes:
        server: where it serves PCP and NAT-PMP, if it does.
        local_address: this host's address towards the gateway.
    """

    server: Endpoint
    local_address: IPAddress


def find_router() -> Router | None:
    """The default gateway; None if there is none, or the system does not tell."""
    address = find_default_gateway()
    if address is None:
        return None
    server = Endpoint(address, SERVER_PORT)
    try:
        return Router(server, local_address_towards(server))
    except OSError:  # the route has gone meanwhile
        return None


def mappers_for(router: Router | None, port: int) -> Mapping[MappingProtocol, Mapper]:
    """What can ask for a mapping of a local TCP port; UPnP finds routers by itself."""
    mappers: dict[MappingProtocol, Mapper] = {MappingProtocol.UPNP: UpnpMapper(port)}
    if router is not None:
        mappers[MappingProtocol.PCP] = PcpMapper(router.server, port)
        mappers[MappingProtocol.NAT_PMP] = NatPmpMapper(router.server, port)
    return mappers


def choose(mappers: Mapping[MappingProtocol, Mapper], protocol: MappingProtocol) -> Mapper:
    """The mapper of a protocol.

    Raises:
        MappingFailedError: the protocol needs to know the router.
    """
    try:
        return mappers[protocol]
    except KeyError:
        raise MappingFailedError(protocol, MappingOutcome.NO_GATEWAY) from None


async def delete_mappings(mappers: Iterable[Mapper]) -> None:
    """Delete what may be mapped; give it :data:`DELETION_TIME`, also when cancelled."""

    async def delete(mapper: Mapper) -> None:
        try:
            await mapper.unmap()
        except MappingFailedError as error:
            logger.debug("port mapping not deleted: %s", error)

    async with trio.open_nursery() as nursery:
        for mapper in mappers:
            nursery.start_soon(delete, mapper)
