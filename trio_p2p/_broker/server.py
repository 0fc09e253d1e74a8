"""The broker's Trio shell: accepts clients in one nursery, a task for each, and ends in order."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable
from typing import Any

import trio

from .._addresses import Endpoint
from .._net.barrier import Barrier
from .._net.system import current_system
from .._wire.messages import MAX_PROBES
from .accepting import accept_clients
from .admission import Admission
from .arrivals import Arrival, Arrivals, Network, plain_arrival
from .circuit import Circuit
from .clients import Clients
from .connection import Connection, Probes, State
from .figures import Figures
from .ledger import OPENING_TIME
from .limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from .log_observer import LogObserver
from .observer import Observer
from .quota import DEFAULT_LIMITS, RelayLimits
from .refusals import RefusalError
from .room import Room
from .secured_circuit import DESCRIPTORS, SecuredEnd
from .turning_away import TurnedAway, part_from

logger = logging.getLogger("trio_p2p.broker")
now = trio.current_time


class Broker(Clients):
    """A broker: what it listens on, and the clients that come there; see :class:`Clients`.

    Args:
        relay: how much to relay; None for nothing.
        probes: where else clients may probe; None to say nothing of that, and to call none back.
        limits: how much one party may ask for, and all of them.
        external: endpoints at which clients find it, besides those that this host has itself.
        observer: is told of what happens.
        admission: decides who may do what; all may if None.
        arrivals: receives clients; if None, they say messages from the beginning.

    Attributes:
        carrying: how many connections are relayed now.
    """

    def __init__(
        self,
        relay: RelayLimits | None = DEFAULT_LIMITS,
        probes: Probes | None = None,
        limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
        *,
        external: Iterable[Endpoint] = (),
        observer: Observer | None = None,
        admission: Admission | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._arrivals = arrivals or Arrivals()
        super().__init__(
            relay,
            probes,
            limits,
            external=external,
            observer=observer or LogObserver(),
            admission=admission,
        )
        self._turned_away = TurnedAway()
        self._room = Room(current_system(), self._links, self._arrivals)
        self.carrying: int = 0
        self._accepting: list[trio.CancelScope] = []

    @property
    def controls(self) -> int:
        """How many control connections there are."""
        return sum(each.state is State.CONTROL for each in self._links)

    @property
    def figures(self) -> Figures:
        """How much of everything there is now."""
        return Figures(
            receivers=len(self.registry.uids),
            connections=self._room.descriptors.in_use,
            pending_introductions=self.registry.pending_introductions,
            circuits=self.registry.circuits,
            relayed_bytes=self._relay.passed,
            is_draining=self.registry.is_draining,
        )

    async def serve_listeners(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve all clients that come to some listeners, until cancelled, or :meth:`end`."""
        async with trio.open_nursery() as nursery:
            self.writers = nursery
            nursery.start_soon(self._relay.watch)
            task_status.started(listeners)
            accepting = trio.CancelScope()
            self._accepting.append(accepting)
            with accepting:
                await accept_clients(listeners, self.serve_socket, self._room.make, nursery)

    def reload(
        self,
        *,
        relay: RelayLimits | None,
        limits: BrokerLimits,
        external: Iterable[Endpoint],
        proxies: Iterable[Network],
        probe_at: Iterable[Endpoint],
    ) -> None:
        """Go on with other settings, without dropping any client.

        What clients have already is not taken away, and what the peers of a circuit were told holds
        until its end.

        Args:
            relay: how much to relay; None for nothing more.
            limits: how much one party may ask for, and all of them.
            external: endpoints at which clients find it, besides those that this host has itself.
            proxies: the addresses of proxies that say where a client comes from.
            probe_at: where else clients may probe, if they may probe at all.
        """
        self.limit_to(limits, relay)
        self._own_endpoints.external = frozenset(external)
        self._arrivals.proxies = tuple(proxies)
        if self._probes is not None:
            self._probes.endpoints = tuple(probe_at)[:MAX_PROBES]

    def serve_socket(self, stream: trio.SocketStream) -> Coroutine[Any, Any, None]:
        """Serve one client that came over TCP, until it is done. Nothing of it concerns others."""
        # No coroutine stands between that of an idle client's task and what it waits in: each is
        # memory of every receiver.
        if self._arrivals.are_plain:
            return self._serve_arrived(plain_arrival(stream))
        return self._serve_received(stream)

    async def _serve_received(self, stream: trio.SocketStream) -> None:
        self._room.descriptors.in_use += 1
        try:
            with Barrier(logger, "receiving a client"):
                arrival = await self._arrivals.locate(stream)
                connection = None if arrival is None else await self._admit(arrival)
                if arrival is not None and connection is not None:
                    await self._serve_admitted(arrival, connection)
        finally:
            self._room.descriptors.in_use -= 1

    async def _serve_admitted(self, arrival: Arrival, connection: Connection) -> None:
        """Serve a client that counts for its source, but has not agreed on TLS yet."""
        try:
            async with self._arrivals.secured(arrival) as secured:
                if secured is not None:
                    connection.lacks_tls = secured.lacks_tls
                    connection.deadline = now() + OPENING_TIME
                    await self._serve_arrived(secured, connection)
        finally:
            self._post(self.registry.disconnected(connection, now()))

    async def _serve_arrived(
        self, arrival: Arrival | None, connection: Connection | None = None
    ) -> None:
        if arrival is None:  # gone before
            return
        stream, arrived = arrival.stream, arrival.transport
        counted = connection is None  # else it is already
        self._room.descriptors.in_use += counted
        with Barrier(logger, "serving a client"):
            try:
                if connection is None:
                    connection = await self._admit(arrival)
                relayed = None
                if connection is not None:
                    relayed = await self.serve(stream, connection, arrival)
                del connection, arrival  # a relayed one is to cost little
                if relayed is not None:
                    circuit, secured = relayed
                    self.carrying += 1
                    try:
                        if isinstance(stream, trio.SocketStream):
                            await circuit.carry(stream)
                        elif secured is not None:
                            await self._carry_secured(circuit, secured)
                    finally:
                        self.carrying -= 1
                        arrived.socket.close()
            finally:
                self._room.descriptors.in_use -= counted

    async def _carry_secured(self, circuit: Circuit, secured: SecuredEnd) -> None:
        self._room.descriptors.in_use += DESCRIPTORS
        try:
            await secured.carry(circuit)
        finally:
            self._room.descriptors.in_use -= DESCRIPTORS

    async def _admit(self, arrival: Arrival) -> Connection | None:
        """The connection of a client that has come; None if it is turned away."""
        try:
            self._room.check()
            return self.registry.connected(arrival.remote, arrival.local, now())
        except RefusalError as refusal:
            refused = refusal.refused
        self._observer.refused(arrival.remote, refused)
        with self._turned_away.parting() as has_time:
            if self._arrivals.are_plain or has_time:
                async with self._arrivals.secured(arrival) as secured:
                    if secured is not None:
                        await part_from(secured.stream, refused, has_time=has_time)
            else:  # to agree on TLS would take time
                arrival.transport.socket.close()
        return None

    def stop_accepting(self) -> None:
        """Close the listeners."""
        for accepting in self._accepting:
            accepting.cancel(reason="the broker is drained")

    def end(self) -> None:
        """Close all connections; :meth:`serve_listeners` returns."""
        self.writers.cancel_scope.cancel(reason="the broker was stopped")
