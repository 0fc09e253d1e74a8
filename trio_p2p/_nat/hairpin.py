"""Finds out whether hosts behind the same NATs reach each other by their reflexive endpoints."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, suppress

import trio

from .._addresses import Endpoint
from .._broker_client.connection import BrokerConnection
from .._broker_client.resolve import connect_to_broker
from .._errors import P2PError
from .._net.sockets import adopt, listen_on, receive_exactly, start_connecting, wait_connected

GREETING_TIME = 5.0  # seconds for the broker to say how it sees both
HAIRPIN_TIME = 2.0  # seconds: until the second SYN of a socket, should the first have come early
REDIAL_TIME = 0.3  # seconds between two SYNs: whichever came first may have been refused
MAX_ACCEPTED = 16  # that are listened to; any host can connect
_TOKEN_BYTES = 16


async def is_hairpinning(broker: Endpoint) -> bool | None:
    """Whether connections between two local ports by their reflexive endpoints come about.

    Both dial and listen, so that filters on the way have seen both sides. None if the broker does
    not say how it sees us, or not in time, or names what is not to be dialled.

    Takes two round trips if they come about, else :data:`HAIRPIN_TIME` more.
    """
    async with AsyncExitStack() as stack:
        ends: list[_End] = []
        with trio.move_on_after(GREETING_TIME), suppress(P2PError):
            for _ in range(2):
                connection = await stack.enter_async_context(await connect_to_broker([broker], ()))
                await connection.receive_challenge()
                observed = connection.observed
                if observed is not None and connection.vantage.may_dial_untrusted(observed):
                    ends.append(_End(connection, observed))
        return await _do_meet(*ends) if len(ends) == 2 else None


class _End:
    """One of the two ports; its mapping lasts as long as its connection to the broker."""

    def __init__(self, connection: BrokerConnection, observed: Endpoint) -> None:
        self.local = connection.local
        self.observed = observed
        self.token = secrets.token_bytes(_TOKEN_BYTES)


async def _do_meet(one: _End, other: _End) -> bool:
    """Whether a connection comes about between the two."""
    meeting = _Meeting(one, other)
    with trio.move_on_after(HAIRPIN_TIME):
        async with trio.open_nursery() as nursery:
            meeting.scope = nursery.cancel_scope
            for end, peer in ((one, other), (other, one)):
                nursery.start_soon(meeting.accept, end, nursery)
                nursery.start_soon(meeting.dial, end, peer.observed)
    return meeting.has_come_about


class _Meeting:
    scope: trio.CancelScope

    def __init__(self, one: _End, other: _End) -> None:
        self.has_come_about = False
        self._expected = {one: other.token, other: one.token}

    async def accept(self, end: _End, nursery: trio.Nursery) -> None:
        with suppress(OSError), listen_on(end.local.family, end.local.port) as listening:
            for _ in range(MAX_ACCEPTED):
                sock, _address = await listening.accept()
                nursery.start_soon(self._meet, sock, end)
            await trio.sleep_forever()  # the port stays ours

    async def dial(self, end: _End, remote: Endpoint) -> None:
        while True:
            with suppress(OSError):
                sock = start_connecting(remote, end.local.port)
                with sock, trio.move_on_after(REDIAL_TIME):
                    await wait_connected(sock)
                    await self._meet(adopt(sock), end)
            await trio.sleep(REDIAL_TIME)

    async def _meet(self, sock: trio.socket.SocketType, end: _End) -> None:
        """A connection that says the other end's token is the other end."""
        with sock, suppress(OSError):
            await sock.send(end.token)
            if await receive_exactly(sock, _TOKEN_BYTES) == self._expected[end]:
                self.has_come_about = True
                self.scope.cancel(reason="the two ports have met")
