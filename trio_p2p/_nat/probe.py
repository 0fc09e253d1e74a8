"""Measures the way to the broker: an unprivileged TCP traceroute over the first hops."""

from __future__ import annotations

import trio

from .._addresses import Endpoint, IPAddress, is_public
from .._net.sockets import icmp_error_source, start_connecting, wait_connected

HOP_TIME = 0.3  # seconds; the near hops, which matter, answer within milliseconds
MAX_HOPS = 5


async def near_hops(towards: Endpoint) -> list[IPAddress | None]:
    """The routers on the way, nearest first, up to the first public one.

    A router that stays silent is None. The list is empty where nothing can be learned: the
    system has no error queue, or there is no router in between.
    """
    hops: list[IPAddress | None] = []
    for distance in range(1, MAX_HOPS + 1):
        try:
            sock = start_connecting(towards, hops=distance, reports_icmp_errors=True)
        except OSError:
            break
        with sock:
            try:
                with trio.move_on_after(HOP_TIME):
                    await wait_connected(sock)
                    break  # no router, but the broker itself
            except OSError:
                pass
            hops.append(icmp_error_source(sock))
        if hops[-1] is not None and is_public(hops[-1]):
            break
    return [] if all(hop is None for hop in hops) else hops
