"""A broker on the loopback interface that answers probes, and calls back."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address

import attrs
import trio

from trio_p2p import Endpoint, serve_broker
from trio_p2p._addresses import endpoint_of

from .loopback import HOST, PATIENCE

ANOTHER_ADDRESS = IPv4Address("127.0.0.2")  # of this host, as all of 127.0.0.0/8


@attrs.frozen
class Served:
    """A broker: the endpoint of its port, and that of the port for probes if it has one."""

    endpoint: Endpoint
    probes: tuple[Endpoint, ...]


@asynccontextmanager
async def open_probed_broker(
    *addresses: IPv4Address, host: str = HOST, has_probes: bool = True
) -> AsyncGenerator[Served]:
    """A broker that calls back from these addresses, too; also the time limit of a test."""
    serve = partial(
        serve_broker,
        0,
        host=host,
        probe_port=0 if has_probes else None,
        probe_at=[Endpoint(address, 4433) for address in addresses],
    )
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(serve)
            endpoint, *probes = (endpoint_of(each.socket.getsockname()) for each in listeners)
            yield Served(endpoint, tuple(probes))
            nursery.cancel_scope.cancel(reason="the test is over")
