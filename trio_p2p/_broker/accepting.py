"""Accepts the clients of a broker, also while it has no descriptors left."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from .._net.log_limit import RepeatedLine
from .._net.os_errors import is_out_of_resources

PAUSE = 0.1  # seconds until the next attempt when there are no descriptors left

logger = logging.getLogger("trio_p2p.broker")


async def accept_clients(
    listeners: list[trio.SocketListener],
    serve: Callable[[trio.SocketStream], Awaitable[object]],
    make_room: Callable[[], object],
    clients: trio.Nursery,
) -> None:
    """Accept clients, until cancelled.

    Args:
        listeners: where they come to; closed in the end.
        serve: serves one, and raises nothing.
        make_room: called when there are no descriptors left for one more.
        clients: the nursery of the tasks that serve.
    """
    is_full = RepeatedLine(logger, logging.WARNING)

    async def accept_from(listener: trio.SocketListener) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if not is_out_of_resources(error):
                    raise
                text = "new clients have to wait: %s. Allow this process more open files"
                is_full.say(trio.current_time(), text, error.strerror)
                make_room()
                await trio.sleep(PAUSE)
            else:
                clients.start_soon(serve, stream)

    try:
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept_from, listener)
    finally:
        for listener in listeners:
            listener.socket.close()
