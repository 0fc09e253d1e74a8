"""What the broker's shell holds for one client: its channel, its time limit, what is yet unwritten.

To tell a client something must hold up no other one. So messages are written as far as the socket
takes them, and what is left by a task that is there only then.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import attrs
import trio

from .._net.barrier import Barrier
from .._net.channel import Channel, ChannelClosedError
from .._wire.codec import encode
from .._wire.messages import Message
from .relay import Circuit

# Seconds.
FAREWELL_TIME = 1.0  # that a client has to read the last words
READING_TIME = 65.0  # that it has to read the rest of others: as long as it may be silent
# Bytes. No introduction is begun while anything is unwritten, so this is for a client that does not
# read answers to its own requests.
MAX_UNWRITTEN = 65_536

logger = logging.getLogger("trio_p2p.broker")


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
        circuit: what has to carry its bytes from now on.
        ending: what is said of the client when its time is over.
        unwritten: while the client does not read at once; afterwards, if it never has.
    """

    channel: Channel
    scope: trio.CancelScope
    circuit: Circuit | None = None
    unwritten: Unwritten | None = None
    ending: str = "timed out"

    def post(self, messages: Sequence[Message], writers: trio.Nursery) -> None:
        """Write messages behind all others; what the socket does not take, later.

        Args:
            messages: what to tell the client.
            writers: the nursery of the task that does that.
        """
        if self.unwritten is not None:
            for message in messages:
                self.unwritten.data += encode(message)
            if len(self.unwritten.data) > MAX_UNWRITTEN:
                self.cut("does not read")
            return
        try:
            unsent = self.channel.start_sending(*messages)
        except ChannelClosedError:  # for its own task to notice
            return
        if unsent is not None:
            self.unwritten = Unwritten(bytearray(unsent.data))
            self.unwritten.scope.deadline = trio.current_time() + READING_TIME
            writers.start_soon(self._write, self.unwritten)

    async def wait_written(self) -> None:
        """Wait until nothing is unwritten, or the client does not read."""
        if self.unwritten is not None:
            await self.unwritten.written.wait()

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
            unwritten.written.set()
        if not is_written:
            self.cut("does not read")
            return
        self.unwritten = None
        if unwritten.is_last:
            self.end()

    async def _write_all(self, data: bytearray) -> None:
        """Write what there is, and what is added meanwhile."""
        # A broken connection is for its own task to notice.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data:
                piece = bytes(data)
                data.clear()
                await self.channel.stream.send_all(piece)

    def cut(self, ending: str) -> None:
        """End the conversation, as if the client's time was over; :attr:`unwritten` stays.

        Args:
            ending: what to say of the client.
        """
        self.ending = ending
        if self.unwritten is not None:
            self.unwritten.scope.cancel(reason=ending)
        self.scope.cancel(reason=ending)
