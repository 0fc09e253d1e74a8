"""The function that runs a broker: what it listens on, and what it tells clients of that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import trio

from .._addresses import Endpoint
from .._net.listening import Host, open_listeners
from .._net.nursery import open_background_nursery
from .._net.sockets import local_endpoint
from .._wire.messages import MAX_PROBES
from .access import Access, AccessFiles
from .arguments import check_arguments, check_reception, parse_endpoints
from .arrivals import Arrivals, Network
from .connection import Probes
from .limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from .observer import Observer
from .quota import DEFAULT_LIMITS, RelayLimits
from .server import Broker
from .tls import BrokerTLS, TLSFiles


@attrs.frozen
class Listening:
    """Sockets that listen.

    Attributes:
        listeners: for clients.
        for_probes: the listeners of the second port.
    """

    listeners: list[trio.SocketListener]
    for_probes: list[trio.SocketListener] = attrs.field(factory=list[trio.SocketListener])


async def serve_broker(
    port: int,
    *,
    host: Host | Sequence[str] = None,
    relay: RelayLimits | None = DEFAULT_LIMITS,
    probe_port: int | None = None,
    probe_at: Iterable[Endpoint] = (),
    external: Iterable[Endpoint] = (),
    limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
    observer: Observer | None = None,
    access: AccessFiles | Access | None = None,
    tls: TLSFiles | BrokerTLS | None = None,
    proxies: Sequence[Network] = (),
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a broker, until cancelled.

    A broker must be reached from the internet without a NAT in between: it tells peers the
    endpoints that it sees them at.

    Args:
        port: the TCP port to listen on, 0 for any free one.
        host: the address or name of the interface to listen on, or several; all interfaces if None.
            The port is the same for all of them.
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
        limits: how much one source, or one proven identity, may ask for, and all of them.
        observer: told of what happens; if None, it is logged.
        access: who may use the broker; all if None.
        tls: what to speak TLS with; if None, clients speak without.
        proxies: the networks of proxies, which say by the PROXY protocol where a client comes from.
        task_status: for :meth:`trio.Nursery.start`, which then returns the listeners; their
            sockets know the ports. Those of ``probe_port`` are behind those of ``port``, as many.

    Raises:
        OSError: a port cannot be listened on.
        LocalProtocolError: an argument is wrong.

    If cancelled, every connection is closed.
    """
    check_reception(access=access, tls=tls, proxies=proxies)
    access = Access(access) if isinstance(access, AccessFiles) else access
    broker, listeners = await open_broker(
        port,
        host=host,
        relay=relay,
        probe_port=probe_port,
        probe_at=probe_at,
        external=external,
        limits=limits,
        observer=observer,
        access=access,
        tls=BrokerTLS(tls) if isinstance(tls, TLSFiles) else tls,
        proxies=proxies,
    )
    async with open_background_nursery() as nursery:
        if access is not None:
            nursery.start_soon(access.watch)
        await broker.serve_listeners(listeners, task_status=task_status)


async def open_broker(
    port: int,
    *,
    host: Host | Sequence[str] = None,
    relay: RelayLimits | None = DEFAULT_LIMITS,
    probe_port: int | None = None,
    probe_at: Iterable[Endpoint] = (),
    external: Iterable[Endpoint] = (),
    limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
    observer: Observer | None = None,
    access: Access | None = None,
    tls: BrokerTLS | None = None,
    proxies: Sequence[Network] = (),
    listening: Listening | None = None,
) -> tuple[Broker, list[trio.SocketListener]]:
    """A broker, and the listeners to call its :meth:`Broker.serve_listeners` with.

    The arguments are those of :func:`serve_broker`; with ``listening`` nothing new is listened on.
    The caller runs :meth:`Access.watch`.

    Raises:
        OSError: a port cannot be listened on.
        LocalProtocolError: an argument is wrong.
    """
    ports = [port] if probe_port is None else [port, probe_port]
    check_arguments(host=host, ports=ports, relay=relay, limits=limits)
    elsewhere = parse_endpoints("probe_at", probe_at)
    own = parse_endpoints("external", external)
    hosts: Sequence[Host] = [host] if host is None or isinstance(host, str | bytes) else tuple(host)
    if listening is None:
        listening = await _listen(port, probe_port, hosts)
    probes = None
    if listening.for_probes:
        endpoints = [local_endpoint(listener.socket) for listener in listening.for_probes]
        by_version: dict[int, int] = {each.address.version: each.port for each in endpoints}
        probes = Probes(by_version, elsewhere[:MAX_PROBES])
    broker = Broker(
        relay,
        probes,
        limits,
        external=own,
        observer=observer,
        admission=None if access is None else access.admission,
        arrivals=Arrivals(tls, proxies),
    )
    return broker, [*listening.listeners, *listening.for_probes]


async def _listen(port: int, probe_port: int | None, hosts: Sequence[Host]) -> Listening:
    listeners = await open_listeners(port, hosts)
    if probe_port is None:
        return Listening(listeners)
    try:
        return Listening(listeners, await open_listeners(probe_port, hosts))
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
