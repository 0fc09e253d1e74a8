"""Notices that a TCP connection was reset, also while no task sends or receives on it."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager

import trio

_ABORTING = struct.pack("ii", 1, 0)  # socket(7): SO_LINGER with no time to linger


class Resets:
    """Watches TCP connections, all of them by one descriptor. :meth:`run` does it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._scopes: dict[int, trio.CancelScope] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        with self._epoll:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for descriptor, events in self._epoll.poll(0):
                    if events & select.EPOLLERR:  # and not the end of both ways only
                        self._scopes[descriptor].cancel(reason="the connection was reset")

    @contextmanager
    def cancelling_on_reset(self, connection: trio.SocketStream) -> Generator[trio.CancelScope]:
        """A block that is cancelled when a connection is reset.

        Args:
            connection: the connection, which must not be closed in the block.
        """
        descriptor = connection.socket.fileno()
        with trio.CancelScope() as scope:
            self._scopes[descriptor] = scope
            self._epoll.register(descriptor, select.EPOLLET)  # errors are told of, nothing else
            try:
                yield scope
            finally:
                if not self._epoll.closed:
                    self._epoll.unregister(descriptor)
                del self._scopes[descriptor]


def reset(connection: trio.SocketStream) -> None:
    """Close a connection so that the other side knows that it was cut short."""
    if connection.socket.fileno() >= 0:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTING)
        connection.socket.close()
