"""Tells clients that come at a bad time so, and when to come again, at little cost."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress

import trio

from .._net.sockets import send_at_once
from .._net.tls_carrier import TLSStream
from .._wire.codec import MAX_FRAME_BYTES, encode
from .._wire.messages import Refused

MAX_PARTINGS = 64  # at a time; more are closed without waiting for what they have sent
# Seconds that a client has to send its greeting. If the connection was closed before, the greeting
# would reset it, and the client might not read why.
PARTING_TIME = 1.0


class TurnedAway:
    """Clients that are refused before they have said anything."""

    def __init__(self) -> None:
        self._partings = 0

    @contextmanager
    def parting(self) -> Generator[bool]:
        """Count a client as long as the block lasts; whether there is time to hear it."""
        self._partings += 1
        try:
            yield self._partings <= MAX_PARTINGS
        finally:
            self._partings -= 1


async def part_from(
    stream: trio.SocketStream | TLSStream, refused: Refused, *, has_time: bool
) -> None:
    """Tell a client why it is not served; its connection is to be closed then.

    Args:
        stream: what it is told on.
        refused: the message that says why.
        has_time: whether to wait for its greeting.
    """
    with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(PARTING_TIME):
        await _tell(stream, encode(refused))
        if has_time:
            await stream.receive_some(MAX_FRAME_BYTES)


async def _tell(stream: trio.SocketStream | TLSStream, data: bytes) -> None:
    if isinstance(stream, trio.SocketStream):
        send_at_once(stream.socket, data)
        stream.socket.shutdown(socket.SHUT_WR)
    else:
        await stream.send_all(data)
        await stream.transport_stream.send_eof()
