"""The ports of a simulated host: which connection or listener a packet is for. No I/O here."""

from __future__ import annotations

import errno
import math
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from random import Random
from typing import Final, Protocol

import attrs

from ..._net.os_errors import error_from
from .._internet.packets import (
    ACK,
    ADMIN_PROHIBITED,
    ICMP,
    NETWORK_UNREACHABLE,
    PORT_UNREACHABLE,
    RST,
    SYN,
    TCP,
    TIME_EXCEEDED,
    Endpoint,
    IcmpError,
    Packet,
)
from .segments import Segment, build_segment, read_segment
from .states import State, nothing
from .tcp import Connection

ANY: Final = bytes(4)  # the address that stands for all of a host
EPHEMERAL_PORTS: Final = range(32_768, 61_000)  # as Linux has them
_ERRORS: Final = {  # as Linux has them
    NETWORK_UNREACHABLE: errno.ENETUNREACH,
    ADMIN_PROHIBITED: errno.EHOSTUNREACH,
    PORT_UNREACHABLE: errno.ECONNREFUSED,
    TIME_EXCEEDED: errno.EHOSTUNREACH,
}


class Opener(Protocol):
    """A socket that connects: it hears of ICMP errors."""

    def hear(self, error: IcmpError, reporter: IPv4Address, hops_left: int) -> bool:
        """Hear that a packet of the socket has died; whether that ends the attempt."""
        ...


@attrs.define(eq=False)
class Listener:
    """A socket that listens.

    Attributes:
        local: where; its address may be :data:`ANY`.
        backlog: how many connections may wait.
        on_change: called when one has come.
        waiting: those that have, the oldest first.
        opening: those that have not sent their last word of the handshake.
    """

    local: Endpoint
    backlog: int
    on_change: Callable[[], object]
    waiting: deque[Connection] = attrs.field(factory=deque[Connection])
    opening: set[Connection] = attrs.field(factory=set[Connection])

    def settle(self, connection: Connection) -> None:
        """Look at a connection that has changed: it is open now, or has failed."""
        if connection.state is State.ESTABLISHED:
            self.waiting.append(connection)
            self.on_change()
        self.opening.discard(connection)
        connection.on_change = nothing


@attrs.define(eq=False)
class Stack:
    """The TCP of one host.

    Attributes:
        send: takes packets that leave.
        now: tells the time.
        call_at: has a function called at a time.
        random: what ports and sequence numbers are taken from.
        addresses: the host's, the preferred one first; none while it is in no network.
    """

    send: Callable[[Packet], object]
    now: Callable[[], float]
    call_at: Callable[[float, Callable[[], object]], object]
    random: Random
    addresses: tuple[bytes, ...] = ()
    _connections: dict[tuple[Endpoint, Endpoint], Connection] = attrs.field(
        init=False, factory=dict[tuple[Endpoint, Endpoint], Connection]
    )
    _looks: dict[Connection, float] = attrs.field(init=False, factory=dict[Connection, float])
    _openers: dict[Connection, Opener] = attrs.field(init=False, factory=dict[Connection, Opener])
    _listeners: dict[Endpoint, list[Listener]] = attrs.field(
        init=False, factory=dict[Endpoint, list[Listener]]
    )
    # How many connections each port has, be their sockets closed or not.
    _lingering: Counter[int] = attrs.field(init=False, factory=Counter[int])
    # Whether each socket of a port shares it.
    _users: dict[int, list[bool]] = attrs.field(init=False, factory=dict[int, list[bool]])

    # Ports

    def take_port(self, port: int, *, shares: bool) -> int:
        """Have a port, any free one if 0; which.

        Raises:
            OSError: another socket has it, and they do not both share.
        """
        if port:
            if not all(shares and other for other in self._users.get(port, ())):
                raise error_from(errno.EADDRINUSE)
        else:
            port = self._free_port()
        self._users.setdefault(port, []).append(shares)
        return port

    def _free_port(self) -> int:
        for _ in EPHEMERAL_PORTS:  # as often as there are some
            port = self.random.choice(EPHEMERAL_PORTS)
            if port not in self._users and port not in self._lingering:
                return port
        raise error_from(errno.EADDRINUSE)

    def give_port_back(self, port: int, *, shares: bool) -> None:
        """Have a port no longer."""
        users = self._users[port]
        users.remove(shares)
        if not users:
            del self._users[port]

    def source_for(self, address: bytes) -> bytes:
        """The address that packets leave from, if the socket has none itself.

        Raises:
            OSError: the host is in no network.
        """
        if not self.addresses:
            raise error_from(errno.ENETUNREACH)
        return address if address in self.addresses else self.addresses[0]

    # Connections

    def connect(
        self, local: Endpoint, remote: Endpoint, opener: Opener, hops: int | None
    ) -> Connection:
        """A connection whose first SYN has left.

        Raises:
            OSError: there is one between these two endpoints already.
        """
        if (local, remote) in self._connections:
            raise error_from(errno.EADDRNOTAVAIL)
        connection = self._add(local, remote)
        self._openers[connection] = opener
        connection.open(hops)
        return connection

    def listen(self, listener: Listener) -> None:
        """Let a listener have the connections to its endpoint."""
        self._listeners.setdefault(listener.local, []).append(listener)

    def stop_listening(self, listener: Listener) -> None:
        """Close a listener, and what it has not accepted."""
        listeners = self._listeners[listener.local]
        listeners.remove(listener)
        if not listeners:
            del self._listeners[listener.local]
        for connection in (*listener.waiting, *listener.opening):
            connection.on_change = nothing
            connection.abort()

    def _add(self, local: Endpoint, remote: Endpoint) -> Connection:
        connection = Connection(self, local, remote, self.random.getrandbits(32))
        self._connections[local, remote] = connection
        self._lingering[local.port] += 1
        return connection

    def join(self) -> tuple[Connection, Connection]:
        """Two connections of this host to each other, open already."""
        address = self.source_for(ANY)
        one, other = (Endpoint(address, self.take_port(0, shares=False)) for _ in range(2))
        ends = self._add(one, other), self._add(other, one)
        for end, peer in zip(ends, reversed(ends), strict=True):
            end.join(peer.isn)
        return ends

    # What connections need

    def transmit(self, connection: Connection, segment: Segment, hops: int | None) -> None:
        """Send a segment; from an address that is not the host's any more it does not leave."""
        if connection.local.address in self.addresses:
            packet = build_segment(connection.local, connection.remote, segment, hops)
            if connection.remote.address in self.addresses:
                self.call_at(self.now(), partial(self.take, packet))  # not while this one sends
            else:
                self.send(packet)

    def set_timer(self, connection: Connection) -> None:
        """Have :meth:`Connection.time_out` called at :attr:`Connection.timer`.

        Timers are set with every segment, and mostly put off before they are due. So a connection
        has one call under way, which looks when it is really due.
        """
        if connection.timer < self._looks.get(connection, math.inf):
            self._looks[connection] = connection.timer
            self.call_at(connection.timer, partial(self._look, connection, connection.timer))

    def _look(self, connection: Connection, time: float) -> None:
        if self._looks.get(connection) != time:
            return  # there is an earlier one
        del self._looks[connection]
        if connection.timer <= self.now():
            connection.time_out()
        elif connection.timer < math.inf:
            self.set_timer(connection)

    def forget(self, connection: Connection) -> None:
        """Pass no more segments to a connection."""
        port = connection.local.port
        del self._connections[connection.local, connection.remote]
        self._lingering[port] -= 1
        if not self._lingering[port]:
            del self._lingering[port]
        self._openers.pop(connection, None)
        self._looks.pop(connection, None)

    # Packets

    def take(self, packet: Packet) -> None:
        """Take a packet that has arrived."""
        if packet.protocol == ICMP:
            self._take_error(packet)
        elif packet.protocol == TCP:
            connection = self._connections.get((packet.destination, packet.source))
            if connection is not None and _is_another(packet, connection):
                connection.fail(0)
                connection = None
            if connection is None:
                self._take_first(packet)
            else:
                connection.take(read_segment(packet))

    def _take_first(self, packet: Packet) -> None:
        listener = self._listener_at(packet.destination)
        if listener is None or packet.flags & (SYN | ACK | RST) != SYN:
            answer = packet.reset()
            if answer is not None and packet.destination.address in self.addresses:
                self.send(answer)
        elif len(listener.waiting) + len(listener.opening) < listener.backlog:
            connection = self._add(packet.destination, packet.source)
            listener.opening.add(connection)
            connection.on_change = lambda: listener.settle(connection)
            connection.answer(read_segment(packet))

    def _listener_at(self, local: Endpoint) -> Listener | None:
        any_local = Endpoint(ANY, local.port)
        listeners = self._listeners.get(local) or self._listeners.get(any_local)
        return listeners[-1] if listeners else None

    def _take_error(self, packet: Packet) -> None:
        error, quote = packet.error, packet.quote()
        if error is None or quote is None:
            return
        connection = self._connections.get((quote.source, quote.destination))
        if connection is None or connection.state is not State.SYN_SENT:
            return
        reporter = IPv4Address(packet.source.address)
        if self._openers[connection].hear(error, reporter, quote.ttl):
            connection.fail(_ERRORS.get(error, errno.EHOSTUNREACH))


def _is_another(packet: Packet, connection: Connection) -> bool:
    """Whether a packet is for another connection, between the same two endpoints."""
    return connection.state is State.TIME_WAIT and packet.flags & (SYN | ACK | RST) == SYN
