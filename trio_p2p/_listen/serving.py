"""Runs a handler for each stream that a listener accepts."""

from __future__ import annotations

import trio

from .._stream.handling import Handler, handle_stream
from .._stream.p2p_stream import P2PStream
from .listener import P2PListener


async def serve_streams(
    listener: P2PListener[P2PStream], handler: Handler, handler_nursery: trio.Nursery | None
) -> None:
    """Serve until the listener is closed, and all handlers have returned.

    Args:
        listener: what to serve.
        handler: called with each stream.
        handler_nursery: where to run the handlers; in a nursery of its own if None.
    """

    async def handle(stream: P2PStream) -> None:
        if await handle_stream(handler, stream):
            listener.note_lost_peer()

    async with trio.open_nursery() as nursery:
        handlers = handler_nursery or nursery
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                break
            # All at once: what their handlers have to say then leaves together, too.
            for each in (stream, *listener.take_waiting()):
                handlers.start_soon(handle, each)
        if listener.is_draining:
            await listener.drain()
