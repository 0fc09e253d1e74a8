"""Carries what is said in TLS to a plain socket pair and back.

What wants a socket of its own, to splice from it or to run a protocol of its own over it, need not
know then that there is TLS on the way.
"""

from __future__ import annotations

import math
import ssl
from contextlib import suppress
from typing import TypeAlias

import trio

from .system import current_system

TLSStream: TypeAlias = "trio.SSLStream[trio.SocketStream]"

# An option of contexts: the end of TCP is an end, too, and leaves the other direction open. OpenSSL
# has it since 3.0; before, the other direction ends as well.
PASSES_ENDS_OF_TCP: int = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)

PARTING_TIME = 1.0  # seconds to carry the last words of a side that is gone

_ENDED = (trio.BrokenResourceError, trio.ClosedResourceError)


def open_socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends of one connection within this process.

    Raises:
        OSError: no descriptor is left.
    """
    return current_system().open_pair()


async def carry(encrypted: TLSStream, plain: trio.SocketStream) -> None:
    """Pass bytes on both ways, each until its end, and close both streams then.

    The end of one direction is passed on as the end of TCP's: Trio's TLS has none that leaves the
    other direction open, and what is carried has authenticated ends of its own. So contexts need
    :data:`PASSES_ENDS_OF_TCP`.

    Args:
        encrypted: whose handshake is done, and from which nothing else reads.
        plain: one end of a pair.

    If cancelled, what the plain side still says is passed on for up to a second, until it ends, as
    it may have said its last words just before; then both streams are closed.
    """
    try:
        await _Carrying(encrypted, plain).run()
    finally:
        encrypted.transport_stream.socket.close()
        plain.socket.close()
        free(encrypted)


class _Carrying:
    """Both ways of what is carried, which end apart from each other."""

    def __init__(self, encrypted: TLSStream, plain: trio.SocketStream) -> None:
        self._encrypted = encrypted
        self._plain = plain
        self._reading = trio.CancelScope()
        self._parting = trio.CancelScope(shield=True)  # while the last words are carried
        self._all_said = trio.Event()

    async def run(self) -> None:
        """Carry until both ways have ended."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outward)
                try:
                    with self._reading:
                        await self._inward()  # in no other task: an idle client is to cost little
                    await self._all_said.wait()
                except trio.Cancelled:
                    self._part()
                    raise
        finally:
            if self._parting.deadline != math.inf:
                await self._read_rest()  # noqa: ASYNC102 - it shields itself, for a second

    def _part(self) -> None:
        """Give the rest of the last words a time limit."""
        latest = trio.current_time() + PARTING_TIME
        for scope in (self._parting, self._reading):
            scope.deadline = min(scope.deadline, latest)

    async def _outward(self) -> None:
        with self._parting:
            with suppress(*_ENDED):  # a socket that is closed unread ends so, behind its data
                async for data in self._plain:
                    await self._encrypted.send_all(data)
            with suppress(*_ENDED):
                await self._encrypted.transport_stream.send_eof()
            try:
                await self._plain.socket.send(b"")
            except OSError:  # it is gone; else only one direction is over
                self._part()
        self._all_said.set()

    async def _inward(self) -> None:
        with suppress(*_ENDED):  # an end of TCP without one of TLS is an end, too
            async for data in self._encrypted:
                try:
                    await self._plain.send_all(data)
                except _ENDED:
                    self._part()
        with suppress(*_ENDED):
            await self._plain.send_eof()

    async def _read_rest(self) -> None:
        """To close a connection with something unread would take back what was said last."""
        with (
            trio.CancelScope(deadline=self._parting.deadline, shield=True),
            suppress(*_ENDED),
        ):
            async for _ in self._encrypted.transport_stream:
                pass


def free(stream: TLSStream) -> None:
    """Give back at once what OpenSSL holds for a stream that is over, some 40 KiB.

    Trio's stream refers to itself, and Python collects cycles by their number, not by what they
    hold: hundreds of such streams would wait for that.
    """
    vars(stream).clear()
