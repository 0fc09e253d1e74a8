"""Messages over a Trio stream."""

from __future__ import annotations

import trio

from .._wire.codec import MAX_FRAME_BYTES, FrameReader, decode_untrusted, encode
from .._wire.messages import Message
from .sockets import send_at_once


class ChannelClosedError(Exception):
    """The other side closed the channel, or the channel broke."""


class Channel:
    """Sends and receives messages over a stream, which it owns.

    Any task may send. One task at a time may receive.
    """

    __slots__ = ("_frames", "_lock", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._frames = FrameReader()
        # Only while somebody sends: an idle channel is the smaller for it, by a third of a KiB.
        self._lock: trio.Lock | None = None

    async def send(self, *messages: Message) -> None:
        """Send messages, all in one piece.

        Raises:
            ChannelClosedError: the channel broke or was closed.

        If cancelled while the other side is not reading, the channel is closed: nobody could
        tell where the next frame begins.
        """
        data = b"".join([encode(message) for message in messages])
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing is sent yet, so nothing is cut
        # Nearly always the kernel takes it all: no turn to take, and nothing to wait for.
        unsent = self._send_at_once(data) if self._lock is None else data
        if not unsent:
            return
        lock = self._lock = self._lock or trio.Lock()
        try:
            lock.acquire_nowait()  # acquire() is a checkpoint, and half a frame may be sent
        except trio.WouldBlock:
            await lock.acquire()
        try:
            if len(unsent) == len(data):
                # Whoever was cancelled while waiting for the lock has sent nothing: no harm done.
                await trio.lowlevel.checkpoint_if_cancelled()
            await self._send_all(unsent)
        finally:
            lock.release()
            if not lock.locked():  # nobody waits for it either
                self._lock = None

    def _send_at_once(self, data: bytes) -> bytes:
        """Send what can be sent without waiting; the rest."""
        try:
            return data[send_at_once(self.stream, data) :]
        except OSError as error:
            raise ChannelClosedError("the connection broke") from error

    async def _send_all(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ChannelClosedError("the connection broke") from error
        except trio.Cancelled:
            await trio.aclose_forcefully(self.stream)
            raise

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            ChannelClosedError: the other side closed the channel, or the channel broke.
            RemoteProtocolError: what came is not a message. The channel is of no more use.
        """
        while (message := self.receive_nowait()) is None:
            try:
                data = await self.stream.receive_some(MAX_FRAME_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ChannelClosedError("the connection broke") from error
            if not data:
                ending = "" if self._frames.is_empty else " in the middle of a message"
                raise ChannelClosedError(f"the other side closed the connection{ending}")
            self._frames.feed(data)
        return message

    def receive_nowait(self) -> Message | None:
        """The next message if it has come already, else None.

        Raises:
            RemoteProtocolError: what came is not a message. The channel is of no more use.
        """
        payload = self._frames.next_untrusted()
        return None if payload is None else decode_untrusted(payload)

    async def aclose(self) -> None:
        """Close the stream, also when cancelled."""
        await self.stream.aclose()
