"""Converses with the broker's clients: a task for each connection, and a scope for its timer.

A connection that is relayed needs none of that any more but its task.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import trio

from .._addresses import Endpoint
from .._attempt import Technique
from .._errors import RemoteProtocolError
from .._net.channel import Channel, ChannelClosedError
from .._wire.codec import encode
from .._wire.messages import (
    CalledBack,
    Draining,
    IntroductionRequest,
    JoinRelay,
    Message,
    Refused,
)
from .admission import Admission
from .arrivals import Arrival
from .callback_probes import call_back
from .circuit import Circuit
from .connection import Connection, Messages, Probes, State
from .limits import BrokerLimits
from .link import FAREWELL_TIME, Link, Tally
from .observer import Observer
from .own_endpoints import OwnEndpoints
from .pacing import TURN_COST, Pacing
from .quota import RelayLimits
from .rates import cost_of
from .registry import Registry
from .relay import Relay
from .secured_circuit import SecuredEnd

logger = logging.getLogger("trio_p2p.broker")
now = trio.current_time


class Clients:
    """One registry, the links to its clients, and the circuits between them.

    Args:
        relay: how much to relay; None for nothing.
        probes: where else clients may probe; None to say nothing of that, and to call none back.
        limits: how much one source may ask for, and all of them.
        external: endpoints at which clients find the broker, besides those that this host has.
        observer: is told of what happens.
        admission: decides who may do what; all may if None.

    Attributes:
        registry: what it knows and decides.
        writers: the nursery of the tasks that write what clients do not read at once. It is that of
            :meth:`Broker.serve_listeners`, or has to be set.
    """

    writers: trio.Nursery

    def __init__(
        self,
        relay: RelayLimits | None,
        probes: Probes | None,
        limits: BrokerLimits,
        *,
        external: Iterable[Endpoint],
        observer: Observer,
        admission: Admission | None,
    ) -> None:
        self._observer = observer
        self._unwritten = Tally(_most_unwritten(limits))
        self._pacing = Pacing(limits)
        self._links: dict[Connection, Link] = {}
        self._probes = probes
        self._own_endpoints = OwnEndpoints(external, self._observer.believed)
        self.registry: Registry = Registry(
            token_bytes=os.urandom,
            round_trip=lambda connection, now: self._links[connection].round_trip(now),
            reads=lambda connection: self._links[connection].unwritten is None,
            relay=relay,
            probes=probes,
            limits=limits,
            own_endpoints=self._own_endpoints,
            observer=self._observer,
            admission=admission,
        )
        # Clients that say much at once queue: one of them is heard in a turn of the event loop, so
        # that those that say little need not wait for hundreds.
        self._turn = trio.Lock()
        self._relay = Relay(self.registry.relay_quota, self.registry.circuit_ended, self._observer)

    async def serve(
        self, stream: trio.abc.Stream, connection: Connection, arrival: Arrival | None = None
    ) -> tuple[Circuit, SecuredEnd | None] | None:
        """Serve one client, until it is done, or to be relayed.

        Args:
            stream: what it is heard on.
            connection: what the registry has made of that; see :meth:`Registry.connected`.
            arrival: how it has come, if it has come over TCP.

        Returns:
            What has to carry the stream's bytes from now on, and the end for a client that speaks
            TLS; None if the stream is closed.
        """
        scope = trio.CancelScope()
        transport = stream if arrival is None else arrival.transport
        link = Link(Channel(stream), scope, self._unwritten, transport)
        link.is_proxied = arrival is not None and arrival.is_proxied
        link.keep_until(connection.deadline)
        self._links[connection] = link
        circuit = None
        try:
            with scope:
                await self._converse(connection, link)
            if connection.state is State.RELAYED and not link.channel.detach()[1]:
                circuit = link.circuit
            elif scope.cancelled_caught and not connection.is_closed:
                is_registered = connection.registration is not None
                standing = "registered" if is_registered else connection.state.value
                self._observer.timed_out(connection.endpoint, link.ending, standing)
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
                if link.secured is not None:
                    link.secured.close()
                link.stop_writing()
                await link.channel.aclose()
        return None if circuit is None else (circuit, link.secured)

    async def _converse(self, connection: Connection, link: Link) -> None:
        while not connection.is_closed:
            outgoing: Messages = []
            cost = 0
            try:
                if (message := link.channel.receive_nowait()) is None:
                    await link.channel.read()
                    message = link.channel.receive_nowait()
                moment = now()
                cost = self._hear(connection, link, message, outgoing, moment)
            except ChannelClosedError:
                return
            except RemoteProtocolError as error:
                moment = now()
                outgoing += self.registry.violated(connection, error, moment)
            link.keep_until(connection.deadline)
            if connection.state is State.RELAYED:
                await self._open_circuit(connection, link, outgoing)
                return
            self._post(outgoing)
            if link.unwritten is not None and connection in dict(outgoing):
                await link.wait_written()  # more is read when the answers to this are
            pause = self._pacing.pause_after(connection, link, cost, moment)
            if pause:
                await trio.sleep(pause)
            if cost >= TURN_COST:
                async with self._turn:
                    await trio.lowlevel.checkpoint()
            if connection.state is State.CALLED:
                await self._call_back(connection, link)

    def _hear(
        self,
        connection: Connection,
        link: Link,
        message: Message | None,
        outgoing: Messages,
        moment: float,
    ) -> int:
        """Have the registry decide on what a client says, as far as it has come and is its turn.

        Args:
            connection: the client's.
            link: its link.
            message: what has come first, if it has come in whole.
            outgoing: gets what there is to say because of that.
            moment: when it has come.

        Returns:
            How many messages that counts as.
        """
        cost = 0
        while message is not None and not connection.is_closed:
            cost += cost_of(message)
            logger.debug("%s, from %s: %s", message.step, connection.endpoint, message)
            _check_is_last(connection, message, link.channel)
            outgoing += self.registry.received(connection, message, moment)
            message = None if cost >= TURN_COST else link.channel.receive_nowait()
        return cost

    async def _call_back(self, connection: Connection, link: Link) -> None:
        result = CalledBack()
        if not link.is_proxied:  # else it would not be called from where it has come to
            result = await call_back(
                link.transport,
                connection.endpoint,
                connection.challenge,
                [] if self._probes is None else [each.address for each in self._probes.endpoints],
            )
        self._post(self.registry.called_back(connection, result))
        await link.wait_written()

    async def _open_circuit(self, connection: Connection, link: Link, outgoing: Messages) -> None:
        """The receiver has joined: the two connections have no more to do with messages."""
        introduction = connection.introduction
        assert introduction is not None
        assert introduction.grant is not None
        sender = self._links[introduction.sender]
        try:
            ends = sender.open_end(), link.open_end()
        except OSError as error:
            logger.info("no circuit to %s: %s", introduction.grant.receiver, error.strerror)
            self.registry.circuit_ended(introduction.grant)
            sender.scope.cancel(reason="it cannot be relayed")
            return
        circuit = self._relay.open(introduction.grant, *ends)
        sender.circuit = link.circuit = circuit
        sender.scope.cancel(reason="it is relayed from here on")
        self._post(outgoing)
        try:
            with trio.move_on_after(FAREWELL_TIME):
                await sender.wait_written()
                await link.wait_written()
        finally:
            if sender.unwritten is not None or link.unwritten is not None:
                sender.stop_writing()
                link.stop_writing()
                circuit.end()
            circuit.begin()  # not before: each client has to read the answer first

    def limit_to(self, limits: BrokerLimits, relay: RelayLimits | None) -> None:
        """Keep to other limits from now on. What clients have already is not taken away."""
        self._unwritten.limit = _most_unwritten(limits)
        self._pacing.limit_to(limits)
        self.registry.limit_to(limits, relay)
        self._relay.change_paces()

    def begin_farewell(self, notice: Draining) -> None:
        """Begin nothing more for clients, and tell them so."""
        self._post(self.registry.drain(list(self._links), notice))

    def cut_circuits(self, reason: str) -> None:
        """End all circuits, and let their peers know why."""
        self._relay.cut_all(reason)

    async def wait_written(self) -> None:
        """Wait until all clients have been told everything, or do not read."""
        for link in list(self._links.values()):
            await link.wait_written()

    def _post(self, outgoing: Messages) -> None:
        """Tell each connection all of its own at once; end the closed ones. Waits for none."""
        frames_for: dict[Connection, bytes] = {}
        for connection, message in outgoing:
            logger.debug("%s, to %s: %s", message.step, connection.endpoint, message)
            if isinstance(message, Refused):
                self._observer.refused(connection.endpoint, message)
            frames_for[connection] = frames_for.get(connection, b"") + encode(message)
        for connection, frames in frames_for.items():
            link = self._links.get(connection)
            if link is None:  # just gone
                continue
            is_registered = connection.registration is not None
            link.post(frames, self.writers, is_registered=is_registered)
            if connection.is_closed:
                last = next(said for to, said in reversed(outgoing) if to is connection)
                logger.debug("after %s, closing %s", last.step, connection.endpoint)
                link.end()


def _most_unwritten(limits: BrokerLimits) -> int:
    """How many bytes may be unwritten for all clients."""
    return limits.memory // 8


def _check_is_last(connection: Connection, message: Message, channel: Channel) -> None:
    """Check that a client sends nothing between a request for the relay and the answer."""
    if connection.state is not State.READY:
        return
    is_request = isinstance(message, IntroductionRequest) and message.technique == Technique.RELAY
    if is_request or isinstance(message, JoinRelay):
        _, rest = channel.detach()
        if rest:
            raise RemoteProtocolError(
                f"got more behind {message.type}: a relay takes bytes only once it has said that "
                "it is there"
            )
