"""The broker's Trio shell: one nursery, one task per connection, a scope for its timer."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress

import attrs
import trio

from .._endpoint import Endpoint
from .._errors import RemoteProtocolError
from .._net.channel import Channel, ChannelClosedError
from .._net.sockets import LISTEN_BACKLOG, remote_endpoint, round_trip
from .._wire.messages import Message
from .registry import Connection, Outgoing, Registry

READING_TIME = 1.0  # seconds that another client's message may wait for a client to read

logger = logging.getLogger("trio_p2p.broker")


async def serve_broker(
    port: int,
    *,
    host: str | bytes | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a broker, until cancelled.

    A broker must be reached from the internet without a NAT in between: it tells peers the
    endpoints that it sees them at.

    Args:
        port: the TCP port to listen on, 0 for any free one.
        host: the address or name of the interface to listen on; all interfaces if None.
        task_status: for :meth:`trio.Nursery.start`, which then returns the listeners; their
            sockets know the port.

    Raises:
        OSError: the port cannot be listened on.

    If cancelled, every connection is closed.
    """
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=LISTEN_BACKLOG)
    await trio.serve_listeners(Broker().serve_socket, listeners, task_status=task_status)


@attrs.define(eq=False)
class _Link:
    """What the shell holds for a connection that the registry knows."""

    channel: Channel
    scope: trio.CancelScope


class Broker:
    """One registry and the links to its clients."""

    def __init__(self) -> None:
        self._links: dict[Connection, _Link] = {}
        self.registry = Registry(
            token_bytes=secrets.token_bytes,
            round_trip=lambda connection: round_trip(self._links[connection].channel.stream),
        )

    async def serve_socket(self, stream: trio.SocketStream) -> None:
        """Serve one client that came over TCP, until it is done."""
        try:
            endpoint = remote_endpoint(stream.socket)
        except OSError:  # gone before it was accepted
            await trio.aclose_forcefully(stream)
            return
        await self.serve(stream, endpoint)

    async def serve(self, stream: trio.abc.Stream, endpoint: Endpoint) -> None:
        """Serve one client at the given reflexive endpoint, until it is done."""
        connection = self.registry.connected(endpoint, trio.current_time())
        scope = trio.CancelScope(deadline=connection.deadline)
        link = self._links[connection] = _Link(Channel(stream), scope)
        try:
            with scope:
                await self._converse(connection, link)
            if scope.cancelled_caught and not connection.is_closed:
                logger.info("%s fell silent (%s)", endpoint, connection.state.value)
                await self._send(self.registry.expired(connection))
        finally:
            # Cancelled or not: whatever hangs on this connection ends with it.
            orphaned = self.registry.disconnected(connection)
            del self._links[connection]
            await trio.aclose_forcefully(stream)
        await self._send(orphaned)

    async def _converse(self, connection: Connection, link: _Link) -> None:
        while not connection.is_closed:
            outgoing: Outgoing = []
            try:
                message: Message | None = await link.channel.receive()
                while message is not None and not connection.is_closed:
                    logger.debug("%s, from %s: %s", message.step, connection.endpoint, message)
                    outgoing += self.registry.received(connection, message, trio.current_time())
                    message = link.channel.receive_nowait()
            except ChannelClosedError:
                return
            except RemoteProtocolError as error:
                logger.info("%s %s", connection.endpoint, error)
                outgoing += self.registry.violated(connection, error)
            link.scope.deadline = connection.deadline
            await self._send(outgoing, own=connection)

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
            logger.debug("after %s, closing %s", messages[-1].step, connection.endpoint)
            link.scope.cancel(reason="the registry closed this connection")
