"""Finds the broker: by its name, over IPv4 and IPv6, and from the network that this host is in."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import trio

from .._addresses import Endpoint, endpoint_of
from .._errors import BrokerUnreachableError
from .._net.network_changes import cancel_when_network_changes, current_network
from .._net.nursery import open_background_nursery
from .._net.os_errors import timeout_error
from .._net.sockets import start_connecting, wait_connected
from .._net.system import current_system
from .connection import BrokerConnection

STAGGER_TIME = 0.25  # seconds between attempts at two addresses of a broker (RFC 8305, 5)
CONNECT_TIME = 10.0  # seconds for all of them: SYNs leave after 0, 1, 3 and 7 (RFC 6298)

_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


IP_VERSIONS = (6, 4)  # the one without NATs first


def ip_versions_of(host: str) -> Sequence[int]:
    """By which versions of IP a host may be reached: all, unless it is an address."""
    try:
        return (ipaddress.ip_address(host).version,)
    except ValueError:
        return IP_VERSIONS


async def resolve_broker(broker: tuple[str, int], ip_version: int | None = None) -> list[Endpoint]:
    """The endpoints of a broker, IPv4 first: there NATs may forget what is not kept up.

    Args:
        broker: host and port.
        ip_version: 4 or 6, if others do not matter.

    Raises:
        BrokerUnreachableError: the name cannot be resolved.
    """
    try:
        found = await current_system().resolve(*broker, _FAMILIES[ip_version])
    except (OSError, UnicodeError) as error:
        raise BrokerUnreachableError(
            f"the broker's host {broker[0]!r} cannot be found ({error}): check its name, "
            "and this host's connection to the internet"
        ) from error
    endpoints = dict.fromkeys(map(endpoint_of, found))
    return sorted(endpoints, key=lambda endpoint: endpoint.address.version)


async def find_broker(
    broker: tuple[str, int], capabilities: Sequence[str], ip_version: int | None = None
) -> BrokerConnection:
    """A connection to a broker, as :func:`connect_to_broker`, from the network we are in.

    Args:
        broker: its host and port.
        capabilities: what to greet it with.
        ip_version: 4 or 6 if it is to be reached by that only.

    Raises:
        BrokerUnreachableError: it does not answer, or not before we are in another network.
    """
    connection = None
    network = current_network()
    try:
        async with open_background_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_when_network_changes, scope, network)
                endpoints = await resolve_broker(broker, ip_version)
                connection = await connect_to_broker(endpoints, capabilities)
    except BaseException:
        if connection is not None:
            await trio.aclose_forcefully(connection)
        raise
    if connection is None:
        raise BrokerUnreachableError(
            f"this host has changed networks while it connected to {broker[0]}: try again"
        )
    return connection


async def connect_to_broker(
    endpoints: Sequence[Endpoint], capabilities: Sequence[str]
) -> BrokerConnection:
    """A connection to the first endpoint that answers, from a fresh port that may be shared.

    Args:
        endpoints: where the broker is.
        capabilities: what to greet it with.

    Raises:
        BrokerUnreachableError: none answers in time.
    """
    errors: list[OSError] = []
    winner: tuple[socket.socket, Endpoint] | None = None

    async def attempt(endpoint: Endpoint, failed: trio.Event) -> None:
        nonlocal winner
        try:
            sock = start_connecting(endpoint)
            try:
                await wait_connected(sock)
                if winner is None:
                    winner = sock, endpoint
                    nursery.cancel_scope.cancel(reason="another address of the broker answered")
            finally:
                if winner is None or winner[0] is not sock:
                    sock.close()
        except OSError as error:
            errors.append(error)
            failed.set()

    try:
        with trio.move_on_after(CONNECT_TIME) as patience:
            async with trio.open_nursery() as nursery:
                for endpoint in endpoints:
                    failed = trio.Event()
                    nursery.start_soon(attempt, endpoint, failed)
                    with trio.move_on_after(STAGGER_TIME):
                        await failed.wait()
        if patience.cancelled_caught:
            errors.append(timeout_error())
        if winner is not None:
            return BrokerConnection(*winner, capabilities)
    except BaseException:
        if winner is not None:
            winner[0].close()
        raise
    raise BrokerUnreachableError(
        f"no broker answers at {' or '.join(map(str, endpoints))} "
        f"({', '.join(str(error.strerror) for error in errors)}): "
        "check its address, and that trio-p2p-broker runs there"
    ) from ExceptionGroup("one error for each address", errors)
