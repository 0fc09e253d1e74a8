"""The broker's Trio shell: one nursery, one task per connection, a scope for its timer.

A connection that is relayed needs none of that any more but its task.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Iterable

import trio

from .._addresses import Endpoint
from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._net.barrier import Barrier
from .._net.channel import Channel, ChannelClosedError
from .._net.log_limit import RepeatedLine
from .._net.sockets import local_endpoint, remote_endpoint, round_trip
from .._wire.messages import (
    IntroductionRequest,
    JoinRelay,
    Message,
    RefusalCode,
    Refused,
)
from .accepting import accept_clients
from .callback_probes import call_back
from .connection import Connection, Messages, Probes, State
from .link import FAREWELL_TIME, Link
from .own_endpoints import OwnEndpoints
from .quota import DEFAULT_LIMITS, RelayLimits, network_of
from .registry import Registry
from .relay import Circuit, Relay
from .source_limits import DEFAULT_SOURCE_LIMITS, SourceLimits

MAX_CUT = 16  # clients that give way at once when there are no descriptors left

logger = logging.getLogger("trio_p2p.broker")
now = trio.current_time


class Broker:
    """One registry, the links to its clients, and the circuits between them.

    Args:
        relay: how much to relay; None for nothing.
        probes: where else clients may probe; None to say nothing of that, and to call none back.
        source_limits: how much one source may ask for.
        external: endpoints at which clients find it, besides those that this host has itself.

    Attributes:
        registry: what it knows and decides.
        writers: the nursery of the tasks that write what clients do not read at once. It is that of
            :meth:`serve_listeners`, or has to be set.
    """

    writers: trio.Nursery

    def __init__(
        self,
        relay: RelayLimits | None = DEFAULT_LIMITS,
        probes: Probes | None = None,
        source_limits: SourceLimits = DEFAULT_SOURCE_LIMITS,
        external: Iterable[Endpoint] = (),
    ) -> None:
        self._links: dict[Connection, Link] = {}
        self.registry = Registry(
            token_bytes=secrets.token_bytes,
            round_trip=lambda connection: round_trip(self._links[connection].channel.stream),
            reads=lambda connection: self._links[connection].unwritten is None,
            relay=relay,
            probes=probes,
            source_limits=source_limits,
            own_endpoints=OwnEndpoints(external, self._say_taken),
        )
        self._taken = RepeatedLine(logger, logging.WARNING, math.inf)
        self._violations = RepeatedLine(logger, logging.INFO)
        self._busy = RepeatedLine(logger, logging.INFO)
        self._endings: dict[str, RepeatedLine] = {}
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
            self.writers = nursery
            if self._relay is not None:
                nursery.start_soon(self._relay.watch)
            task_status.started(listeners)
            await accept_clients(listeners, self.serve_socket, self._make_room, nursery)

    async def serve_socket(self, stream: trio.SocketStream) -> None:
        """Serve one client that came over TCP, until it is done. Nothing of it concerns others."""
        with Barrier(logger, "serving a client"):
            try:
                connection = self.registry.connected(
                    remote_endpoint(stream.socket), local_endpoint(stream.socket), now()
                )
            except OSError:  # gone before it was accepted
                await trio.aclose_forcefully(stream)
                return
            circuit = await self.serve(stream, connection)
            if circuit is None:
                return
            del connection  # a relayed one is to cost little
            try:
                await circuit.carry(stream)
            finally:
                await trio.aclose_forcefully(stream)

    async def serve(self, stream: trio.abc.Stream, connection: Connection) -> Circuit | None:
        """Serve one client, until it is done, or to be relayed.

        Args:
            stream: what it is heard on.
            connection: what the registry has made of that; see :meth:`Registry.connected`.

        Returns:
            What has to carry the stream's bytes from now on; None if the stream is closed.
        """
        scope = trio.CancelScope(deadline=connection.deadline)
        link = self._links[connection] = Link(Channel(stream), scope)
        circuit = None
        try:
            with scope:
                await self._converse(connection, link)
            if connection.state is State.RELAYED and not link.channel.detach()[1]:
                circuit = link.circuit
            elif scope.cancelled_caught and not connection.is_closed:
                self._say_ended(connection, link)
                self._post(self.registry.expired(connection, now()))
                with trio.move_on_after(FAREWELL_TIME):
                    await link.wait_written()
        finally:
            # Cancelled or not: whatever hangs on this connection ends with it.
            self._post(self.registry.disconnected(connection, now()))
            del self._links[connection]
            if circuit is None:
                if link.circuit is not None:
                    link.circuit.end()
                await trio.aclose_forcefully(stream)
        return circuit

    async def _converse(self, connection: Connection, link: Link) -> None:
        while not connection.is_closed:
            outgoing: Messages = []
            try:
                message: Message | None = await link.channel.receive()
                while message is not None and not connection.is_closed:
                    logger.debug("%s, from %s: %s", message.step, connection.endpoint, message)
                    if connection.state is State.READY:
                        _check_is_last(message, link.channel)
                    outgoing += self.registry.received(connection, message, now())
                    message = link.channel.receive_nowait()
            except ChannelClosedError:
                return
            except RemoteProtocolError as error:
                self._violations.say(
                    now(), "client %s violated the protocol: %s", connection.endpoint, error
                )
                outgoing += self.registry.violated(connection, error, now())
            link.scope.deadline = connection.deadline
            if connection.state is State.RELAYED:
                await self._open_circuit(connection, link, outgoing)
                return
            self._post(outgoing)
            if connection in dict(outgoing):
                await link.wait_written()  # more is read when the answers to this are
            if connection.state is State.CALLED:
                result = await call_back(
                    link.channel.stream, connection.endpoint, connection.challenge, self._addresses
                )
                self._post(self.registry.called_back(connection, result))
                await link.wait_written()

    async def _open_circuit(self, connection: Connection, link: Link, outgoing: Messages) -> None:
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
        sender.scope.cancel(reason="it is relayed from here on")
        self._post(outgoing)
        try:
            with trio.move_on_after(FAREWELL_TIME):
                await sender.wait_written()
                await link.wait_written()
        finally:
            if sender.unwritten is not None or link.unwritten is not None:
                circuit.end()
            circuit.begin()  # not before: each client has to read the answer first

    def _make_room(self) -> None:
        """Cut some clients of the source that has most of those that are not registered."""
        links: dict[bytes, list[Link]] = {}  # each source's oldest first
        for connection, link in self._links.items():
            if connection.registration is None and connection.state is not State.RELAYED:
                links.setdefault(network_of(connection.endpoint.address), []).append(link)
        for link in max(links.values(), key=len)[:MAX_CUT] if links else ():
            link.cut("gives way to others, as there are no descriptors left")

    def _say_ended(self, connection: Connection, link: Link) -> None:
        line = self._endings.setdefault(link.ending, RepeatedLine(logger, logging.INFO))
        is_registered = connection.registration is not None
        standing = "registered" if is_registered else connection.state.value
        line.say(now(), f"client %s {link.ending} (%s)", connection.endpoint, standing)

    def _say_taken(self, named: Endpoint, local: Endpoint) -> None:
        self._taken.say(
            now(),
            "a receiver has registered with the broker at %s, and has come to %s, which is no "
            "public address: such registrations are taken, though another broker may have passed "
            "them on. Say with --external where clients find this broker",
            named,
            local,
        )

    def _post(self, outgoing: Messages) -> None:
        """Tell each connection all of its own at once; end the closed ones. Waits for none."""
        messages_of: dict[Connection, list[Message]] = {}
        for connection, message in outgoing:
            logger.debug("%s, to %s: %s", message.step, connection.endpoint, message)
            if isinstance(message, Refused) and message.code is RefusalCode.BUSY:
                self._busy.say(now(), "client %s refused: %s", connection.endpoint, message.reason)
            messages_of.setdefault(connection, []).append(message)
        for connection, messages in messages_of.items():
            link = self._links.get(connection)
            if link is None:  # just gone
                continue
            link.post(messages, self.writers)
            if connection.is_closed:
                logger.debug("after %s, closing %s", messages[-1].step, connection.endpoint)
                link.end()


def _check_is_last(message: Message, channel: Channel) -> None:
    """Check that a client sends nothing between a request for the relay and the answer."""
    is_request = isinstance(message, IntroductionRequest) and message.technique == Technique.RELAY
    if is_request or isinstance(message, JoinRelay):
        _, rest = channel.detach()
        if rest:
            raise RemoteProtocolError(
                f"got more behind {message.type}: a relay takes bytes only once it has said that "
                "it is there"
            )
