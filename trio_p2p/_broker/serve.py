"""The function that runs a broker: what it listens on, and what it tells clients of that."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from .._addresses import Endpoint
from .._net.sockets import LISTEN_BACKLOG, local_endpoint
from .._net.system import current_system
from .._wire.messages import MAX_PROBES
from .arguments import check_arguments, parse_endpoints
from .connection import Probes
from .quota import DEFAULT_LIMITS, RelayLimits
from .server import Broker


async def serve_broker(
    port: int,
    *,
    host: str | bytes | None = None,
    relay: RelayLimits | None = DEFAULT_LIMITS,
    probe_port: int | None = None,
    probe_at: Iterable[Endpoint] = (),
    external: Iterable[Endpoint] = (),
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a broker, until cancelled.

    A broker must be reached from the internet without a NAT in between: it tells peers the
    endpoints that it sees them at.

    Args:
        port: the TCP port to listen on, 0 for any free one.
        host: the address or name of the interface to listen on; all interfaces if None.
        relay: how much to relay for peers that find no direct way; None to relay nothing.
        probe_port: a second TCP port, 0 for any free one, by which peers learn how their NATs map
            ports. They are called back then, too, if they ask for it. None for no such thing.
        probe_at: endpoints with other IP addresses where peers may probe as well: this broker's or
            another one's. If an address is this host's, peers can be called back from it.
        external: endpoints at which clients find this broker, if a NAT or a proxy has them and not
            this host. A receiver signs what broker it registers with, so that no other one can use
            the registration. The broker takes what is signed for these and for the local endpoint
            of the connection. If there are none, one at a private or loopback address takes what is
            signed for any, and warns of that once.
        task_status: for :meth:`trio.Nursery.start`, which then returns the listeners; their
            sockets know the ports. Those of ``probe_port`` are behind those of ``port``, as many.

    Raises:
        OSError: a port cannot be listened on.
        LocalProtocolError: an argument is wrong.

    If cancelled, every connection is closed.
    """
    ports = [port] if probe_port is None else [port, probe_port]
    check_arguments(host=host, ports=ports, relay=relay)
    elsewhere = parse_endpoints("probe_at", probe_at)
    own = parse_endpoints("external", external)
    system = current_system()
    listeners = await system.open_listeners(port, host, LISTEN_BACKLOG)
    probes = None
    if probe_port is not None:
        try:
            more = await system.open_listeners(probe_port, host, LISTEN_BACKLOG)
        except BaseException:
            for listener in listeners:
                listener.socket.close()
            raise
        listeners += more
        endpoints = [local_endpoint(listener.socket) for listener in more]
        by_version: dict[int, int] = {each.address.version: each.port for each in endpoints}
        probes = Probes(by_version, elsewhere[:MAX_PROBES])
    broker = Broker(relay, probes, external=own)
    await broker.serve_listeners(listeners, task_status=task_status)
