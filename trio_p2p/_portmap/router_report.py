"""Asks the router what it offers, for diagnosis."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import attrs
import trio

from .._addresses import IPAddress
from .._net.sockets import local_endpoint, open_bound_socket
from .attempts import MappingAttempt, MappingFailedError, MappingProtocol
from .routers import ALL_PROTOCOLS, DELETION_TIME, choose, delete_mappings, find_router, mappers_for


@attrs.frozen
class ProtocolReport:
    """What the router offers in one protocol.

    Attributes:
        protocol: the protocol.
        external_address: the address that the router says it has outside; None if it did not say.
        failure: why it did not say; None if it did.
    """

    protocol: MappingProtocol
    external_address: IPAddress | None = None
    failure: MappingAttempt | None = None


async def report_on_router(
    protocols: Sequence[MappingProtocol] = ALL_PROTOCOLS,
) -> list[ProtocolReport]:
    """Ask the router in every protocol what external address it has.

    It takes milliseconds where the router answers in all of them, some seconds where it does not.
    In PCP the address comes with a mapping only: a port without a listener is mapped, and the
    mapping deleted at once, also when cancelled.

    Raises:
        OSError: no descriptor is free.
    """
    with open_bound_socket(socket.AF_INET) as sock:  # no other socket gets its port meanwhile
        mappers = mappers_for(find_router(), local_endpoint(sock).port)
        reports: dict[MappingProtocol, ProtocolReport] = {}

        async def ask(protocol: MappingProtocol) -> None:
            try:
                address = await choose(mappers, protocol).external_address()
            except MappingFailedError as error:
                reports[protocol] = ProtocolReport(protocol, failure=error.attempt)
            else:
                reports[protocol] = ProtocolReport(protocol, address)

        try:
            async with trio.open_nursery() as nursery:
                for protocol in protocols:
                    nursery.start_soon(ask, protocol)
        finally:
            with trio.move_on_after(DELETION_TIME, shield=True):
                await delete_mappings(mappers.values())
    return [reports[protocol] for protocol in protocols]
