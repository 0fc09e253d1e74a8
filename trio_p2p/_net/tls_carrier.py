"""Carries what is said in TLS to a plain socket pair and back.

What wants a socket of its own, to splice from it or to run a protocol of its own over it, need not
know then that there is TLS on the way.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TypeAlias

import trio

TLSStream: TypeAlias = "trio.SSLStream[trio.SocketStream]"

# An option of contexts: the end of TCP is an end, too, and leaves the other direction open. OpenSSL
# has it since 3.0; before, the other direction ends as well.
PASSES_ENDS_OF_TCP: int = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)

PARTING_TIME = 2.0  # seconds to carry the last words of a side that is gone

_ENDED = (trio.BrokenResourceError, trio.ClosedResourceError)


def open_socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends of one connection within this process.

    Raises:
        OSError: no descriptor is left.
    """
    near, far = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return trio.SocketStream(near), trio.SocketStream(far)


async def carry(encrypted: TLSStream, plain: trio.SocketStream) -> None:
    """Pass bytes on both ways, each until its end, and close both streams then.

    The end of one direction is passed on as the end of TCP's: Trio's TLS has none that leaves the
    other direction open, and what is carried has authenticated ends of its own. So contexts need
    :data:`PASSES_ENDS_OF_TCP`.

    Args:
        encrypted: whose handshake is done, and from which nothing else reads.
        plain: one end of a pair.

    If cancelled, both streams are closed.
    """

    def plain_is_gone() -> None:
        # Its last words may still be under way, and to close a connection with something unread
        # would take them back: what comes is read, for nothing.
        latest = trio.current_time() + PARTING_TIME
        nursery.cancel_scope.deadline = min(nursery.cancel_scope.deadline, latest)

    async def outward() -> None:
        with suppress(*_ENDED):  # a socket that is closed unread ends like this, behind its data
            async for data in plain:
                await encrypted.send_all(data)
        with suppress(*_ENDED):
            await encrypted.transport_stream.send_eof()
        try:
            await plain.socket.send(b"")
        except OSError:  # else only one direction is over
            plain_is_gone()

    async def inward() -> None:
        with suppress(*_ENDED):  # an end of TCP without one of TLS is an end, too
            async for data in encrypted:
                try:
                    await plain.send_all(data)
                except _ENDED:
                    plain_is_gone()
        with suppress(*_ENDED):
            await plain.send_eof()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outward)
            await inward()  # not in another task: an idle client is to cost little
    finally:
        encrypted.transport_stream.socket.close()
        plain.socket.close()
        free(encrypted)


def free(stream: TLSStream) -> None:
    """Give back at once what OpenSSL holds for a stream that is over, some 40 KiB.

    Trio's stream refers to itself, and Python collects cycles by their number, not by what they
    hold: hundreds of such streams would wait for that.
    """
    vars(stream).clear()
