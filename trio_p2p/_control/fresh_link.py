"""Opens a connection to the broker from a port of its own, and keeps it alive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from .._attempt import Technique
from .._broker_client.finder import BrokerFinder
from .._errors import P2PError
from .._nat.local_network import LocalNetwork
from .._net.nursery import open_background_nursery
from .._net.os_errors import explain
from .._options import PeerOptions
from .._traversal.shared_port import Strangers, start_shared_port
from .broker_link import BrokerLink


@asynccontextmanager
async def open_link(
    broker: BrokerFinder,
    techniques: Sequence[Technique],
    ip_version: int,
    options: PeerOptions,
    nursery: trio.Nursery,
    *,
    local_network: Callable[[], LocalNetwork],
    strangers: Strangers,
) -> AsyncGenerator[BrokerLink]:
    """A connection to the broker, as long as the context lasts.

    Args:
        broker: finds it.
        techniques: what to greet it with.
        ip_version: 4 or 6.
        options: the peer's.
        nursery: for tasks that may outlast the connection for a moment.
        local_network: gives what is known of the network that this host is in, once connected.
        strangers: where those are counted who come to the port.

    Raises:
        BrokerUnreachableError: no broker answers there.
        P2PError: this host has no descriptor left, or another program has the port.
    """
    async with (
        await broker.find(techniques, ip_version) as connection,
        open_background_nursery() as background,
    ):
        try:
            shared_port = start_shared_port(background, connection.local, strangers)
        except OSError as error:
            text = f"this host cannot accept connections: {explain(error)}"
            raise P2PError(text) from error
        link = BrokerLink(connection, shared_port, local_network(), options, nursery)
        background.start_soon(link.receive)
        background.start_soon(connection.keep_alive)
        try:
            yield link
        finally:
            await link.quit()  # noqa: ASYNC102 - it shields itself, for a second
