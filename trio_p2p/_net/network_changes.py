"""Tells when this host's addresses change: another network, a cable, the end of a sleep."""

from __future__ import annotations

import socket

import trio

_RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x10, 0x100  # linux/rtnetlink.h
_MESSAGE_BYTES = 65_536


async def wait_network_changed() -> None:
    """Wait until an address comes or goes; for ever where the system does not tell."""
    sock = _open_netlink()
    if sock is None:
        await trio.sleep_forever()
    else:
        with sock:
            await sock.recv(_MESSAGE_BYTES)


def _open_netlink() -> trio.socket.SocketType | None:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except (AttributeError, OSError):  # not Linux, or no descriptor is free
        return None
    sock.setblocking(False)
    sock.bind((0, _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
    return trio.socket.from_stdlib_socket(sock)
