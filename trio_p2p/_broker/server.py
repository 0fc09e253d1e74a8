"""The broker's Trio shell: one nursery, one task per connection, a scope for its timer.

A connection that is relayed needs none of that any more but its task.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from contextlib import suppress

import attrs
import trio

from .._addresses import Endpoint
from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._net.barrier import Barrier
from .._net.channel import Channel, ChannelClosedError
from .._net.sockets import LISTEN_BACKLOG, local_endpoint, remote_endpoint, round_trip
from .._net.system import current_system
from .._wire.messages import MAX_PROBES, IntroductionRequest, JoinRelay, Message
from .arguments import check_arguments, parse_endpoints
from .callback_probes import call_back
from .connection import Connection, Outgoing, Probes, State
from .quota import DEFAULT_LIMITS, RelayLimits
from .registry import Registry
from .relay import Circuit, Relay

READING_TIME = 1.0  # seconds that another client's message may wait for a client to read

logger = logging.getLogger("trio_p2p.broker")


async def serve_broker(
    port: int,
    *,
    host: str | bytes | None = None,
    relay: RelayLimits | None = DEFAULT_LIMITS,
    probe_port: int | None = None,
    probe_at: Iterable[Endpoint] = (),
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
        by_version: dict[int, int] = {
            endpoint.address.version: endpoint.port for endpoint in endpoints
        }
        probes = Probes(by_version, elsewhere[:MAX_PROBES])
    await Broker(relay, probes).serve_listeners(listeners, task_status=task_status)


@attrs.define(eq=False)
class _Link:
    """What the shell holds for a connection that the registry knows."""

    channel: Channel
    scope: trio.CancelScope
    circuit: Circuit | None = None


class Broker:
    """One registry, the links to its clients, and the circuits between them.

    Args:
        relay: how much to relay; None for nothing.
        probes: where else clients may probe; None to say nothing of that, and to call nobody back.
    """

    def __init__(
        self, relay: RelayLimits | None = DEFAULT_LIMITS, probes: Probes | None = None
    ) -> None:
        self._links: dict[Connection, _Link] = {}
        self.registry = Registry(
            token_bytes=secrets.token_bytes,
            round_trip=lambda connection: round_trip(self._links[connection].channel.stream),
            relay=relay,
            probes=probes,
        )
        self._addresses = [] if probes is None else [each.address for each in probes.endpoints]
        self._relay = None if relay is None else Relay(relay, self.registry.circuit_ended)

    async def serve_listeners(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve all clients that come to some listeners, until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._relay is not None:
                nursery.start_soon(self._relay.watch)
            await trio.serve_listeners(
                self.serve_socket, listeners, handler_nursery=nursery, task_status=task_status
            )

    async def serve_socket(self, stream: trio.SocketStream) -> None:
        """Serve one client that came over TCP, until it is done. Nothing of it concerns others."""
        with Barrier(logger, "serving a client"):
            await self._serve_socket(stream)

    async def _serve_socket(self, stream: trio.SocketStream) -> None:
        try:
            endpoint = remote_endpoint(stream.socket)
        except OSError:  # gone before it was accepted
            await trio.aclose_forcefully(stream)
            return
        circuit = await self.serve(stream, endpoint)
        if circuit is None:
            return
        del endpoint  # a relayed connection is to cost little
        try:
            await circuit.carry(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async def serve(self, stream: trio.abc.Stream, endpoint: Endpoint) -> Circuit | None:
        """Serve one client at the given reflexive endpoint, until it is done, or to be relayed.

        Returns:
            What has to carry the stream's bytes from now on; None if the stream is closed.
        """
        connection = self.registry.connected(endpoint, trio.current_time())
        scope = trio.CancelScope(deadline=connection.deadline)
        link = self._links[connection] = _Link(Channel(stream), scope)
        circuit = None
        try:
            with scope:
                await self._converse(connection, link)
            if connection.state is State.RELAYED and not link.channel.detach()[1]:
                circuit = link.circuit
            elif scope.cancelled_caught and not connection.is_closed:
                logger.info("client %s timed out (%s)", endpoint, connection.state.value)
                await self._send(self.registry.expired(connection))
        finally:
            # Cancelled or not: whatever hangs on this connection ends with it.
            orphaned = self.registry.disconnected(connection)
            del self._links[connection]
            if circuit is None:
                if link.circuit is not None:
                    link.circuit.end()
                await trio.aclose_forcefully(stream)
        await self._send(orphaned)
        return circuit

    async def _converse(self, connection: Connection, link: _Link) -> None:
        while not connection.is_closed:
            outgoing: Outgoing = []
            try:
                message: Message | None = await link.channel.receive()
                while message is not None and not connection.is_closed:
                    logger.debug("%s, from %s: %s", message.step, connection.endpoint, message)
                    _check_is_last(message, link.channel)
                    outgoing += self.registry.received(connection, message, trio.current_time())
                    message = link.channel.receive_nowait()
            except ChannelClosedError:
                return
            except RemoteProtocolError as error:
                logger.info("client %s violated the protocol: %s", connection.endpoint, error)
                outgoing += self.registry.violated(connection, error)
            link.scope.deadline = connection.deadline
            if connection.state is State.RELAYED:
                await self._open_circuit(connection, link, outgoing)
                return
            await self._send(outgoing, own=connection)
            if connection.state is State.CALLED:
                result = await call_back(
                    link.channel.stream, connection.endpoint, connection.challenge, self._addresses
                )
                await self._send(self.registry.called_back(connection, result), own=connection)

    async def _open_circuit(self, connection: Connection, link: _Link, outgoing: Outgoing) -> None:
        """The receiver has joined: the two connections have no more to do with messages."""
        introduction = connection.introduction
        assert introduction is not None
        assert introduction.grant is not None
        assert self._relay is not None
        sender = self._links[introduction.sender]
        streams = sender.channel.stream, link.channel.stream
        assert isinstance(streams[0], trio.SocketStream)
        assert isinstance(streams[1], trio.SocketStream)
        circuit = self._relay.open(introduction.grant, streams[0], streams[1])
        sender.circuit = link.circuit = circuit
        await self._send(outgoing, own=connection)
        # Not before: it would carry what its client says to ours, who has to read the answer first.
        sender.scope.cancel(reason="it is relayed from here on")

    async def _send(self, outgoing: Outgoing, own: Connection | None = None) -> None:
        """Send messages, to each connection all of its own at once; close the closed ones."""
        messages_of: dict[Connection, list[Message]] = {}
        for connection, message in outgoing:
            logger.debug("%s, to %s: %s", message.step, connection.endpoint, message)
            messages_of.setdefault(connection, []).append(message)
        own_messages = [] if own is None else messages_of.pop(own, [])
        if len(messages_of) == 1:  # nearly always, and a nursery has its price
            await self._tell(*messages_of.popitem())
        elif messages_of:
            async with trio.open_nursery() as nursery:
                for connection, messages in messages_of.items():
                    nursery.start_soon(self._tell, connection, messages)
        if own is not None and own_messages:
            with suppress(ChannelClosedError):
                await self._links[own].channel.send(*own_messages)

    async def _tell(self, connection: Connection, messages: list[Message]) -> None:
        """Send messages to a client that is not our own, and must not hold us up."""
        link = self._links.get(connection)
        if link is None:  # gone, while others were told
            return
        reads = True
        # A broken channel is for its own task to notice.
        with suppress(ChannelClosedError):
            if unsent := link.channel.start_sending(*messages):
                with trio.move_on_after(READING_TIME) as patience:
                    await link.channel.finish_sending(unsent)
                reads = not patience.cancelled_caught
        if not reads:
            link.scope.cancel(reason="its client does not read")
        elif connection.is_closed:
            logger.debug(
                "after %s, closing the connection to %s", messages[-1].step, connection.endpoint
            )
            link.scope.cancel(reason="the registry closed this connection")


def _check_is_last(message: Message, channel: Channel) -> None:
    """Nobody may send anything between a request for the relay and the answer."""
    is_request = isinstance(message, IntroductionRequest) and message.technique == Technique.RELAY
    if is_request or isinstance(message, JoinRelay):
        _, rest = channel.detach()
        if rest:
            raise RemoteProtocolError(
                f"got more behind {message.type}: a relay takes bytes only once it has said that "
                "it is there"
            )
