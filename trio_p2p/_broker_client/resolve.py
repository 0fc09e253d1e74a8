"""Connects to a broker, of which the name is known, over IPv4 and IPv6."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from functools import partial

import trio

from .._addresses import Endpoint, endpoint_of
from .._errors import BrokerLostError, BrokerUnreachableError, P2PError
from .._net.os_errors import explain, is_of_this_host, timeout_error
from .._net.sockets import start_connecting, wait_connected
from .._net.system import current_system
from .connection import CHECK_BROKER, BrokerConnection
from .credentials import Credentials
from .staggered import first_connection
from .tls import BrokerTLS

STAGGER_TIME = 0.25  # seconds between attempts at two addresses of a broker (RFC 8305, 5)
CONNECT_TIME = 10.0  # seconds for each of them: SYNs leave after 0, 1, 3 and 7 (RFC 6298)
SHORTAGE_PAUSES = (0.1, 0.4)  # seconds until a descriptor or a port may be free

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


async def connect_to_broker(
    endpoints: Sequence[Endpoint],
    capabilities: Sequence[str],
    *,
    greets: bool = False,
    credentials: Credentials | None = None,
    tls: BrokerTLS | None = None,
) -> BrokerConnection:
    """A connection to the first endpoint that answers, from a fresh port that may be shared.

    If there are several, the first one where a broker greets. With a single one that is left to
    the first call that receives, so that the first request can leave together with our greeting.

    Args:
        endpoints: where the broker is.
        capabilities: what to greet it with.
        greets: whether to wait for its greeting even if there is one endpoint only.
        credentials: by what right it is used, if it has to be shown any.
        tls: to speak TLS with it.

    Raises:
        BrokerUnreachableError: none answers in time.
        P2PError: what answers is no broker of this version.
    """
    greets |= len(endpoints) > 1
    found, errors = await first_connection(
        [
            partial(_connect_in_spite_of_shortages, each, capabilities, credentials, tls, greets)
            for each in endpoints
        ],
        STAGGER_TIME,
    )
    if found is None:
        raise _failure(dict(zip(endpoints, errors, strict=True)))
    return found


async def _connect_in_spite_of_shortages(
    endpoint: Endpoint,
    capabilities: Sequence[str],
    credentials: Credentials | None,
    tls: BrokerTLS | None,
    greets: bool,
) -> BrokerConnection:
    """Like :func:`_connect`; tried again for a moment if this host lacks something for it."""
    for pause in SHORTAGE_PAUSES:
        try:
            return await _connect(endpoint, capabilities, credentials, tls, greets=greets)
        except OSError as error:
            if not is_of_this_host(error):
                raise
        await trio.sleep(pause)
    return await _connect(endpoint, capabilities, credentials, tls, greets=greets)


async def _connect(
    endpoint: Endpoint,
    capabilities: Sequence[str],
    credentials: Credentials | None,
    tls: BrokerTLS | None,
    *,
    greets: bool,
) -> BrokerConnection:
    """A connection to one endpoint.

    Raises:
        OSError: there is none, or not in time.
        P2PError: no broker has greeted on it, or not one of this version.
    """
    connection = None
    sock = start_connecting(endpoint)
    try:
        with trio.move_on_after(CONNECT_TIME):
            await wait_connected(sock)
            connection = BrokerConnection(sock, endpoint, capabilities, credentials)
        if connection is None:
            raise timeout_error()
        if tls is not None:
            await connection.secure(tls)
        if greets:
            await connection.greet()
    except BaseException:
        if connection is None:
            sock.close()
        else:
            await trio.aclose_forcefully(connection)
        raise
    return connection


def _failure(errors: Mapping[Endpoint, OSError | P2PError]) -> P2PError:
    """What tells most of why no endpoint is a broker's."""
    for error in errors.values():
        if isinstance(error, P2PError) and not isinstance(
            error, (BrokerUnreachableError, BrokerLostError)
        ):
            return error
    for error in errors.values():
        if isinstance(error, OSError) and is_of_this_host(error):
            failure: P2PError = BrokerUnreachableError(
                f"this host cannot connect to the broker: {explain(error)}"
            )
            break
    else:
        reasons = (
            f"{endpoint} ({error.strerror if isinstance(error, OSError) else error})"
            for endpoint, error in errors.items()
        )
        failure = BrokerUnreachableError(
            f"no broker answers at {' or '.join(reasons)}: {CHECK_BROKER}"
        )
    failure.__cause__ = ExceptionGroup("one error for each address", list(errors.values()))
    return failure
