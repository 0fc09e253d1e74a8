"""A wire between two namespaces on which packets take their time: those of the kernel have none."""

import math
import os
from contextlib import suppress

import trio

from trio_p2p._lab.networks import LinkEnd

from .tun import open_tun_device

_PACKET_BYTES = 65_536


async def carry_slowly(
    one: LinkEnd, other: LinkEnd, delay: float, *, task_status: trio.TaskStatus[None]
) -> None:
    """Be a wire until cancelled: both interfaces exist then, with so many seconds between them."""
    here, there = (end.namespace.call(open_tun_device, end.interface) for end in (one, other))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_carry, here, there, delay)
            nursery.start_soon(_carry, there, here, delay)
            task_status.started()
    finally:
        os.close(here)
        os.close(there)


async def _carry(source: int, target: int, delay: float) -> None:
    under_way, arriving = trio.open_memory_channel[tuple[float, bytes]](math.inf)

    async def deliver() -> None:
        async for due, packet in arriving:
            await trio.sleep_until(due)
            with suppress(OSError):  # the interface is down
                os.write(target, packet)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver)
        while True:
            await trio.lowlevel.wait_readable(source)
            packet = os.read(source, _PACKET_BYTES)
            under_way.send_nowait((trio.current_time() + delay, packet))
