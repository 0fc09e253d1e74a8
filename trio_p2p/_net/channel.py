"""Messages over a Trio stream."""

from __future__ import annotations

from contextlib import suppress

import attrs
import trio

from .._wire.codec import MAX_FRAME_BYTES, FrameReader, decode_untrusted, encode
from .._wire.messages import Message
from .sockets import send_at_once
from .system import current_system


class ChannelClosedError(Exception):
    """The other side closed the channel, or the channel broke."""


@attrs.frozen
class Unsent:
    """What is left of messages that the stream did not take at once.

    Attributes:
        data: the bytes.
        is_cut: whether others were sent before them.
    """

    data: bytes
    is_cut: bool


class Channel:
    """Sends and receives messages over a stream, which it owns.

    Any task may send. One task at a time may receive.
    """

    __slots__ = ("_frames", "_lock", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        # Each only while there is something to read or to send: an idle channel is the smaller for
        # it, by almost half a KiB.
        self._frames: FrameReader | None = None
        self._lock: trio.Lock | None = None

    async def send(self, *messages: Message) -> None:
        """Send messages, all in one piece.

        Raises:
            ChannelClosedError: the channel broke or was closed.

        If cancelled while the other side is not reading, the channel is closed: no reader could
        tell where the next frame begins.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing is sent yet, so nothing is cut
        frames = b"".join([encode(message) for message in messages])
        if unsent := self.start_sending(frames):
            await self.finish_sending(unsent)

    def start_sending(self, frames: bytes) -> Unsent | None:
        """Send as much of some messages as needs no waiting: nearly always it is all.

        Args:
            frames: the messages, encoded.

        Returns:
            What to call :meth:`finish_sending` with, at once; None if all is sent.

        Raises:
            ChannelClosedError: the channel broke or was closed.
        """
        sent = 0
        if self._lock is None and isinstance(self.stream, trio.SocketStream):
            try:
                sent = send_at_once(self.stream.socket, frames)
            except OSError as error:
                self.stream.socket.close()  # whatever was wrong, the other side misses something
                raise ChannelClosedError("the connection broke") from error
        return None if sent == len(frames) else Unsent(frames[sent:], is_cut=sent > 0)

    async def finish_sending(self, unsent: Unsent) -> None:
        """Send the rest; like :meth:`send`."""
        lock = self._lock = self._lock or trio.Lock()
        try:
            lock.acquire_nowait()  # acquire() is a checkpoint, and would let others cut in
        except trio.WouldBlock:
            await lock.acquire()
        try:
            if not unsent.is_cut:
                # A task that is cancelled while it waits for the lock has sent nothing.
                await trio.lowlevel.checkpoint_if_cancelled()
            await self._send_all(unsent.data)
        finally:
            lock.release()
            if not lock.locked():  # no task waits for it either
                self._lock = None

    async def _send_all(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            await self.aclose()
            raise ChannelClosedError("the connection broke") from error
        except trio.Cancelled:
            await self.aclose()
            raise

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            ChannelClosedError: the other side closed the channel, or the channel broke.
            RemoteProtocolError: what came is not a message. The channel is of no more use.
        """
        while (message := self.receive_nowait()) is None:
            await self.read()
        return message

    async def read(self) -> None:
        """Wait until more has come, be it a whole message or a part of one.

        Raises:
            ChannelClosedError: the other side closed the channel, or the channel broke.
        """
        try:
            if isinstance(self.stream, trio.SocketStream):
                data: bytes | bytearray = await _receive_some(self.stream.socket)
            else:
                data = await self.stream.receive_some(MAX_FRAME_BYTES)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ChannelClosedError("the connection broke") from error
        if not data:
            ending = "" if self._frames is None else " in the middle of a message"
            raise ChannelClosedError(f"the other side closed the connection{ending}")
        if self._frames is None:
            self._frames = FrameReader()
        self._frames.feed(data)

    def receive_nowait(self) -> Message | None:
        """The next message if it has come already, else None.

        Raises:
            RemoteProtocolError: what came is not a message. The channel is of no more use.
        """
        if self._frames is None:
            return None
        payload = self._frames.next_untrusted()
        if payload is not None:
            return decode_untrusted(payload)
        if self._frames.is_empty:
            self._frames = None
        return None

    def detach(self) -> tuple[trio.abc.Stream, bytes]:
        """The stream, and what has been read from it and is no message any more."""
        return self.stream, b"" if self._frames is None else self._frames.take_rest()

    async def aclose(self) -> None:
        """Close the stream without any farewell, also when cancelled; that of a socket at once."""
        if isinstance(self.stream, trio.SocketStream):
            self.stream.socket.close()  # other tasks need no turn for that
        else:
            await trio.aclose_forcefully(self.stream)


async def _receive_some(sock: trio.socket.SocketType) -> bytes:
    """Receive from a socket as :class:`trio.SocketStream` does, in fewer steps.

    An idle connection would keep Trio's dozen functions and context managers in memory, too.
    """
    system = current_system()
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        data = system.read(sock, MAX_FRAME_BYTES)
    except BlockingIOError:
        pass
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data
    while True:
        await system.wait_readable(sock)
        with suppress(BlockingIOError):
            return system.read(sock, MAX_FRAME_BYTES)
