"""What the broker's shell holds for one client: its channel, its time limit, what is yet unwritten.

To tell a client something must hold up no other one. So messages are written as far as the socket
takes them, and what is left by a task that is there only then.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import cast

import attrs
import trio

from .._net.barrier import Barrier
from .._net.channel import Channel, ChannelClosedError
from .._net.sockets import round_trip
from .._net.tls_carrier import TLSStream
from .circuit import Circuit
from .registry import SILENCE_TIME
from .secured_circuit import SecuredEnd

# Seconds.
FAREWELL_TIME = 1.0  # that a client has to read the last words
ROUND_TRIP_TIME = 1.0  # that a measured round trip is believed: to ask the kernel costs a call
# Bytes. No introduction is begun while anything is unwritten, so this is for a client that does not
# read answers to its own requests.
MAX_UNWRITTEN = 65_536

logger = logging.getLogger("trio_p2p.broker")


@attrs.define(eq=False)
class Tally:
    """The bytes that all clients have yet to be told.

    Attributes:
        limit: how many there may be; a client that makes them more is cut, unless it is registered.
        count: how many there are.
    """

    limit: int
    count: int = 0


@attrs.define(eq=False)
class Unwritten:
    """What a client has yet to be told.

    Attributes:
        data: the bytes behind those that are just being written.
        scope: ends the writing.
        is_last: whether the conversation ends behind it.
        written: set when the last byte is written, or no more will be.
    """

    data: bytearray
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_last: bool = False
    written: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False, weakref_slot=False)
class Link:
    """One client's connection, as the shell sees it.

    Attributes:
        channel: the messages.
        scope: ends the conversation.
        transport: the connection, which may be encrypted.
        is_proxied: whether a proxy is in between.
        circuit: what has to carry its bytes from now on.
        secured: the end of the circuit if the client speaks TLS.
        ending: what is said of the client when its time is over.
        paid_until: how far its share of the broker's time is paid for; see :class:`Rate`.
        tally: what all links have unwritten.
        unwritten: while the client does not read at once; afterwards, if it never has.
        measured: the last round trip that was asked for.
        measured_at: when that was.
    """

    channel: Channel
    scope: trio.CancelScope
    tally: Tally
    transport: trio.abc.Stream
    is_proxied: bool = False
    circuit: Circuit | None = None
    secured: SecuredEnd | None = None
    unwritten: Unwritten | None = None
    ending: str = "timed out"
    paid_until: float = -math.inf
    measured: int = 0
    measured_at: float = -math.inf

    def round_trip(self, now: float) -> int:
        """Microseconds to the client and back, as they were a second ago or later."""
        if now >= self.measured_at + ROUND_TRIP_TIME:
            self.measured, self.measured_at = round_trip(self.transport), now
        return self.measured

    def post(self, frames: bytes, writers: trio.Nursery, *, is_registered: bool = False) -> None:
        """Write messages behind all others; what the socket does not take, later.

        Args:
            frames: what to tell the client, encoded.
            writers: the nursery of the task that does that.
            is_registered: whether a receiver is registered on the connection.
        """
        if self.unwritten is not None:
            self.unwritten.data += frames
            self.tally.count += len(frames)
            if len(self.unwritten.data) > MAX_UNWRITTEN or (
                self.tally.count > self.tally.limit and not is_registered
            ):
                self.cut("does not read")
            return
        try:
            unsent = self.channel.start_sending(frames)
        except ChannelClosedError:  # for its own task to notice
            return
        if unsent is not None:
            self.unwritten = Unwritten(bytearray(unsent.data))
            self.tally.count += len(unsent.data)
            self.unwritten.scope.deadline = trio.current_time() + SILENCE_TIME  # to read it
            writers.start_soon(self._write, self.unwritten)

    def keep_until(self, deadline: float) -> None:
        """End the conversation at a time, or less than a second later.

        To move a scope's deadline costs as much as to decode a message, so it stands at a whole
        second: a client that says much in one moves it once.
        """
        last = math.ceil(deadline)
        if last != self.scope.deadline:
            self.scope.deadline = last

    async def wait_written(self) -> None:
        """Wait until nothing is unwritten, or the client does not read."""
        if self.unwritten is not None:
            await self.unwritten.written.wait()

    def stop_writing(self) -> None:
        """Write no more: the connection is over."""
        if self.unwritten is not None:
            self.unwritten.scope.cancel(reason="the connection is over")

    def open_end(self) -> trio.SocketStream:
        """What a circuit can carry from and to.

        Raises:
            OSError: no descriptor is left for it.
        """
        stream = self.channel.stream
        if isinstance(stream, trio.SocketStream):
            return stream
        self.secured = SecuredEnd.open(cast("TLSStream", stream))
        return self.secured.near

    def end(self) -> None:
        """End the conversation, once the client has read the last words or had time for that."""
        if self.unwritten is None:
            self.scope.cancel(reason="the registry closed this connection")
        else:
            self.unwritten.is_last = True
            self.unwritten.scope.deadline = trio.current_time() + FAREWELL_TIME

    async def _write(self, unwritten: Unwritten) -> None:
        is_written = False
        try:
            with Barrier(logger, "writing to a client"), unwritten.scope:
                await self._write_all(unwritten.data)
                is_written = True
        finally:
            self.tally.count -= len(unwritten.data)
            unwritten.data.clear()
            unwritten.written.set()
        if not is_written:
            self.cut("does not read")
            return
        self.unwritten = None
        if unwritten.is_last:
            self.end()

    async def _write_all(self, data: bytearray) -> None:
        """Write what there is, and what is added meanwhile."""
        await trio.lowlevel.checkpoint_if_cancelled()  # the stream may be over already
        # A broken connection is for its own task to notice.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data:
                piece = bytes(data)
                data.clear()
                try:
                    await self.channel.stream.send_all(piece)
                finally:
                    self.tally.count -= len(piece)

    def cut(self, ending: str) -> None:
        """End the conversation, as if the client's time was over; :attr:`unwritten` stays.

        Args:
            ending: what to say of the client.
        """
        self.ending = ending
        if self.unwritten is not None:
            self.unwritten.scope.cancel(reason=ending)
        self.scope.cancel(reason=ending)
