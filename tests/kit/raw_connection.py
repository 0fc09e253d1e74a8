"""The side that opens a connection, said frame by frame: honest in nothing but TLS, if need be."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from trio_p2p import Identity
from trio_p2p._stream.frames import (
    MAX_PAYLOAD_BYTES,
    MIN_WINDOW,
    SESSION_ID_BYTES,
    FrameParser,
    Kind,
    PathHello,
    header,
)
from trio_p2p._stream.path import Path
from trio_p2p._stream.stream_frames import (
    EOF_FLAG,
    HEADER_BYTES,
    STOP_FLAG,
    StreamFrameKind,
    parse_header_untrusted,
)
from trio_p2p._wire.messages import INSTANCE_BYTES

from .loopback import LoopbackBroker
from .multiplexers import StreamFrame
from .streams import Peers, open_path

_IDENTIFIERS = random.Random("raw connections")


class RawConnection:
    """A session of one path, and what is said of its streams.

    Args:
        path: the path, over which nothing was said yet.

    Attributes:
        said: how many frames of each kind the other side has said of streams.
        sent: how many bytes of the session were sent.
        is_over: whether the other side has closed the path.
        acknowledges: whether what comes is acknowledged.
        on_frame: called with each frame that the other side says of a stream.
    """

    def __init__(self, path: Path) -> None:
        self.said: Counter[int] = Counter()
        self.is_over = False
        self.acknowledges = True
        self.on_frame: Callable[[StreamFrame], None] = lambda _: None
        self.path = path
        self.sent = 0
        self._received = 0
        self._acknowledged = 0
        self._turn = trio.Lock()
        self._frames = FrameParser()
        self._rest = bytearray()
        self._buffer = bytearray()

    async def greet(self) -> None:
        """Begin a session."""
        session, instance = map(_IDENTIFIERS.randbytes, (SESSION_ID_BYTES, INSTANCE_BYTES))
        await self.send(PathHello(0, session, 1, MIN_WINDOW, instance, is_new=True).encode())

    async def say(self, *frames: bytes | StreamFrame) -> None:
        """Say something of streams, in as few frames of the session as possible."""
        said = [each if isinstance(each, bytes) else each.encode() for each in frames]
        view = memoryview(b"".join(said))
        while view:
            piece = view[:MAX_PAYLOAD_BYTES]
            await self.send(header(Kind.DATA, self.sent, len(piece)), piece)
            self.sent += len(piece)
            view = view[len(piece) :]

    async def send(self, *pieces: bytes | memoryview) -> None:
        """Send frames of the session."""
        async with self._turn:
            self.path.start_sending(pieces)
            await self.path.finish_sending()
            await trio.lowlevel.checkpoint()

    @property
    def finished(self) -> int:
        """How many streams the other side is done with."""
        return self.said[STOP_FLAG] + self.said[EOF_FLAG | STOP_FLAG] + self.resets

    @property
    def resets(self) -> int:
        """How many streams the other side has reset."""
        return self.said[StreamFrameKind.RESET]

    async def listen(self, count: float = math.inf) -> None:
        """Take what the other side says, until it closes the path or has said so many frames."""
        try:
            while self.said.total() < count and await self.path.receive(self):
                if self.acknowledges and self._received > self._acknowledged:
                    self._acknowledged = self._received
                    await self.send(header(Kind.ACK, self._received))
        except (trio.BrokenResourceError, trio.BusyResourceError):  # the latter: it was cut short
            self.is_over = True
        else:
            self.is_over = self.said.total() < count

    # Where the path puts what comes.

    def get_buffer(self, size: int) -> memoryview:
        if not self._frames.missing:
            return self._frames.get_buffer()
        self._buffer = bytearray(min(size, self._frames.missing))
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        if not self._frames.missing:
            self._frames.buffer_updated_untrusted(count)
            return
        self._frames.pass_over(count)
        self._received += count
        self._rest += memoryview(self._buffer)[:count]
        start = 0
        while len(self._rest) - start >= HEADER_BYTES:
            kind, number, length = parse_header_untrusted(memoryview(self._rest), start)
            end = start + HEADER_BYTES + length
            if end > len(self._rest):
                break
            self.said[kind] += 1
            self.on_frame(StreamFrame(kind, number, bytes(self._rest[start + HEADER_BYTES : end])))
            start = end
        del self._rest[:start]


@asynccontextmanager
async def open_raw_connection(
    peers: Peers | LoopbackBroker, identity: Identity
) -> AsyncGenerator[RawConnection]:
    """A connection to the receiver; both sides have greeted."""
    async with open_path(peers, identity) as path:
        connection = RawConnection(path)
        await connection.greet()
        yield connection
