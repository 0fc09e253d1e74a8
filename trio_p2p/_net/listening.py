"""Listens on one port of several addresses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TypeAlias

import trio

from .._addresses import endpoint_of
from .sockets import LISTEN_BACKLOG
from .system import current_system

MAX_TRIES = 10  # to find a port that is free at all of the addresses

Host: TypeAlias = str | bytes | None


async def open_listeners(port: int, hosts: Sequence[Host]) -> list[trio.SocketListener]:
    """Listen on the same port of all addresses of some hosts.

    Args:
        port: the TCP port, 0 for any that is free at all of them.
        hosts: names or addresses; None for all interfaces.

    Raises:
        OSError: the port cannot be listened on.
    """
    addresses = [address for host in hosts for address in await _addresses_of(host)]
    tries = MAX_TRIES if port == 0 else 1
    while True:
        tries -= 1
        try:
            return await _open(port, list(dict.fromkeys(addresses)))
        except OSError as error:
            if not tries or error.errno != errno.EADDRINUSE:
                raise


async def _addresses_of(host: Host) -> list[str]:
    if host is None:
        return ["0.0.0.0", "::"]  # noqa: S104 - all interfaces are what is asked for
    found = await current_system().resolve(host, 0, socket.AF_UNSPEC)
    return [str(endpoint_of(sockaddr).address) for sockaddr in found]


async def _open(port: int, addresses: Sequence[str]) -> list[trio.SocketListener]:
    opened: list[trio.SocketListener] = []
    unsupported: OSError | None = None
    try:
        for address in addresses:
            try:
                opened += await current_system().open_listeners(port, address, LISTEN_BACKLOG)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:  # of a host without one version of IP
                    raise
                unsupported = error
            else:
                port = port or opened[0].socket.getsockname()[1]
    except BaseException:
        for listener in opened:
            listener.socket.close()
        raise
    if unsupported is not None and not opened:
        raise unsupported
    return opened
