"""Finds out what the NATs before this host do, from a few short connections to the broker.

::

    P ──► broker's port          one local port, several remote endpoints:
    P ──► broker's second port       does the mapping depend on them?
    P ──► other addresses
    Q ──► broker's port          fresh local ports: how are ports chosen?
    R ──► broker's port              and back to Q, from elsewhere: who gets in?

All leave at once, in this order, from local ports of their own, so that nothing that is under way
is disturbed. It takes two round trips, and one more, or up to a second, until the broker has called
back.

On a NAT that counts, a survey takes as many ports as it makes mappings: one for P if its mapping is
endpoint-independent, else one for each endpoint that P leads to, and two for Q and R. That is
five at most with one address besides the broker's. So look at the counter afterwards, not before.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

import trio

from .._addresses import Endpoint
from .._broker_client.connection import BrokerConnection
from .._errors import P2PError
from .._net.sockets import local_endpoint, start_connecting, wait_connected
from .._wire.messages import Observed, Probe
from .._wire.offer import Nat
from .callback_probes import receive_calls
from .classification import Calls, Sample, classify

SURVEY_TIME = 4.0  # seconds until what has not answered is left out: a SYN was lost, and again
MAX_REMOTES = 3  # besides the broker: its second port, and two more addresses


async def survey_nat(
    broker: Endpoint, probes: Sequence[Endpoint], *, asks_filtering: bool = True
) -> Nat:
    """What the NATs between this host and a broker do.

    Args:
        broker: the endpoint that the broker was reached at.
        probes: where it answers probes besides, as it says in its greeting; first on another port
            of the same address. If there are none, nothing can be found out, and nothing is sent.
        asks_filtering: whether to find out who is let in, too, which takes another second where
            it is none.

    What does not answer within :data:`SURVEY_TIME` is missing in the result; no error is raised. If
    cancelled, nothing is left of it.
    """
    if not probes:
        return Nat()
    sightings = Sightings()
    await sightings.look(broker, probes, asks_filtering=asks_filtering)
    return sightings.nat


class Sightings:
    """What was seen so far.

    Attributes:
        samples: connections that were made, and how the broker saw them.
        calls: which hosts got in.
    """

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.calls = Calls()

    @property
    def nat(self) -> Nat:
        """What the NATs do, as far as that can be told from it."""
        return classify(self.samples, self.calls)

    async def look(
        self, broker: Endpoint, probes: Sequence[Endpoint], *, asks_filtering: bool = True
    ) -> None:
        """Make the connections, and wait for what comes of them; see :func:`survey_nat`."""
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + SURVEY_TIME
            port = self._start(nursery, broker, order=0)
            if port:
                for order, remote in enumerate(probes[:MAX_REMOTES], start=1):
                    self._start(nursery, remote, port, order=order)
            for order in (MAX_REMOTES + 1, MAX_REMOTES + 2):
                is_called = asks_filtering and order == MAX_REMOTES + 1
                self._start(nursery, broker, order=order, is_called=is_called)

    def _start(
        self,
        nursery: trio.Nursery,
        remote: Endpoint,
        port: int = 0,
        *,
        order: int,
        is_called: bool = False,
    ) -> int:
        """Let a SYN leave at once; its local port, 0 if it cannot."""
        try:
            sock = start_connecting(remote, port)
        except OSError:  # no route, or no descriptor is free
            return 0
        nursery.start_soon(self._probe, sock, remote, order, is_called)
        return local_endpoint(sock).port

    async def _probe(
        self, sock: socket.socket, remote: Endpoint, order: int, is_called: bool
    ) -> None:
        with sock, suppress(OSError, P2PError):
            await wait_connected(sock)
            async with BrokerConnection(sock, remote, ()) as connection:

                def note(observed: Endpoint) -> None:
                    self.samples.append(Sample(connection.local, remote, observed, order))

                if is_called:
                    self.calls = await receive_calls(connection, note)
                    return
                await connection.send(Probe())
                message = await connection.receive()
                if isinstance(message, Observed):
                    note(message.endpoint)
