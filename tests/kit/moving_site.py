"""A site of the lab that changes networks, and what waits there for that."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from ipaddress import IPv4Address

import trio
import trio.testing

from trio_p2p._addresses import Endpoint

from .lab import Site, start

PATIENCE = 60.0
REMOTE = Endpoint(IPv4Address("8.8.8.8"), 443)

Wait = Callable[[Site], Awaitable[object]]


def start_waiting(site: Site, *waits: Wait) -> Future[None]:
    """Wait for things at a site; they are waited for already."""
    listening: Future[None] = Future()

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for wait in waits:
                    nursery.start_soon(wait, site)
                await trio.testing.wait_all_tasks_blocked()
                listening.set_result(None)

    waiting = start(site.host, main)
    listening.result(PATIENCE)
    return waiting


def move(site: Site, *, last: int) -> None:
    """Get another address from the same router."""
    router = site.host_address - 1
    site.host.ip(
        f"address del {site.host_address}/24 dev lan",
        f"address add {router + last - 1}/24 dev lan",
        f"route add default via {router} dev lan",
    )
