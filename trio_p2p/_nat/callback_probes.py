"""Lets the broker call back, to learn whom the NATs let in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from .._addresses import Endpoint
from .._attempt import Outcome
from .._broker_client.connection import BrokerConnection, unexpected
from .._errors import RemoteProtocolError
from .._net.channel import Channel, ChannelClosedError
from .._net.nursery import open_background_nursery
from .._net.sockets import listen_on
from .._wire.messages import CallBack, Called, CalledBack, CallSource, Observed, Probe
from .classification import Calls

GRACE_TIME = 0.5  # seconds that a call that was made may take to be heard
MAX_CALLERS = 16  # that are listened to; any host can call


async def receive_calls(
    connection: BrokerConnection, on_observed: Callable[[Endpoint], object]
) -> Calls:
    """Ask the broker what it sees, and to call back there, and hear who gets in.

    Args:
        connection: one on which nothing was asked yet, and whose port has led nowhere else.
        on_observed: told what the broker sees, as soon as it has answered.

    Raises:
        OSError: the port cannot be listened on.
        P2PError: the broker does not answer as it should.

    Takes two round trips, and up to a second more. If cancelled, nothing is left of it.
    """
    callers = _Callers()
    with listen_on(connection.local.family, connection.local.port) as listening:
        async with open_background_nursery() as nursery:
            nursery.start_soon(callers.listen, listening, nursery)
            await connection.send(Probe(), CallBack())
            challenge = await connection.receive_challenge()
            message = await connection.receive()
            if not isinstance(message, Observed):
                raise unexpected(message)
            on_observed(message.endpoint)
            message = await connection.receive()
            if not isinstance(message, CalledBack):
                raise unexpected(message)
            expected = {
                Called(challenge, source)
                for source, made in _outcomes(message)
                if made is Outcome.CONNECTED
            }
            with trio.move_on_after(GRACE_TIME):
                await callers.wait_heard(expected)
    # The broker may have been connected with another host: with the NAT itself, say.
    got_in = {
        source: None if made is None else Called(challenge, source) in callers.heard
        for source, made in _outcomes(message)
    }
    return Calls(got_in[CallSource.SAME_ADDRESS], got_in[CallSource.OTHER_ADDRESS])


def _outcomes(message: CalledBack) -> list[tuple[CallSource, Outcome | None]]:
    return [
        (CallSource.SAME_ADDRESS, message.same_address),
        (CallSource.OTHER_ADDRESS, message.other_address),
    ]


class _Callers:
    """The connections that came in, and what was said over them."""

    def __init__(self) -> None:
        self.heard: set[Called] = set()  # from any host: what is right may not be known yet
        self._changed = trio.Event()

    async def listen(self, listening: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        for _ in range(MAX_CALLERS):
            with suppress(OSError):
                sock, _address = await listening.accept()
                nursery.start_soon(self._hear, sock)

    async def _hear(self, sock: trio.socket.SocketType) -> None:
        async with trio.SocketStream(sock) as stream:
            with suppress(ChannelClosedError, RemoteProtocolError):
                message = await Channel(stream).receive()
                if isinstance(message, Called):
                    self.heard.add(message)
                    self._changed.set()
                    self._changed = trio.Event()

    async def wait_heard(self, calls: set[Called]) -> None:
        """Wait until all these have been heard."""
        while not calls <= self.heard:
            await self._changed.wait()
