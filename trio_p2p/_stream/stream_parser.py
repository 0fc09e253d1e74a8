"""Cuts what a session receives into frames of streams; long payloads go straight to them. Pure."""

from __future__ import annotations

from typing import Final, Protocol

from .stream_frames import EOF_FLAG, HEADER_BYTES, STOP_FLAG, parse_header_untrusted
from .substream import Substream

# Small frames pass through it, many at a time. Of a long one no more than this is copied.
SCRATCH_BYTES: Final = 4096


class FrameHandler(Protocol):
    """What frames mean. All methods raise RemoteProtocolError if they may not come now."""

    def announced_untrusted(self, number: int, length: int) -> Substream | None:
        """Bytes of a stream are going to come; None if they are to be dropped."""
        ...

    def passed_untrusted(self, stream: Substream, flags: int) -> None:
        """All bytes of a frame have come, if there were any."""
        ...

    def control_untrusted(self, kind: int, number: int, payload: bytes) -> None:
        """A frame of another kind has come."""
        ...


class StreamFrameParser:
    """Takes the bytes of a session, in order.

    Args:
        handler: what the frames mean.

    Attributes:
        frames: how many have come so far; of DATA, their headers.
    """

    def __init__(self, handler: FrameHandler) -> None:
        self.frames: int = 0
        self._handler = handler
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._filled = 0
        self._available = 0  # about
        self._missing = 0  # of the payload of DATA
        self._stream: Substream | None = None
        self._former: Substream | None = None  # of the DATA before
        self._flags = 0
        self._is_direct = False

    def get_buffer(self, size: int) -> memoryview:
        """Where to put the next bytes, of which there are about so many."""
        self._available = size
        if not self._missing:
            return self._scratch[self._filled :]
        buffer = None
        if self._stream is not None:
            # What follows is likely to be of the same stream only if what came before was.
            wanted = size if self._stream is self._former else min(size, self._missing)
            buffer = self._stream.get_buffer(self._missing, wanted)
        self._is_direct = buffer is not None
        return memoryview(bytearray(min(self._missing, size))) if buffer is None else buffer

    def buffer_updated_untrusted(self, count: int) -> None:
        """Take so many bytes that were put into the buffer, which is not held any more.

        Raises:
            RemoteProtocolError: they are not what the other side may say now.
        """
        if not self._missing:
            self._filled += count
            self._parse_untrusted()
            return
        if self._is_direct and self._stream is not None:
            self._stream.arrived(count)
        self._pass(count)

    def _parse_untrusted(self) -> None:
        start = 0
        while self._filled - start >= HEADER_BYTES:
            kind, number, length = parse_header_untrusted(self._scratch, start)
            behind = start + HEADER_BYTES
            self.frames += 1
            if kind > EOF_FLAG | STOP_FLAG:
                if self._filled - behind < length:
                    break
                start = behind + length
                self._handler.control_untrusted(kind, number, bytes(self._scratch[behind:start]))
                continue
            self._former = self._stream
            self._stream = self._handler.announced_untrusted(number, length)
            self._flags, self._missing = kind, length
            start = min(behind + length, self._filled)
            if start > behind:
                self._copy(behind, start)
            self._pass(start - behind)
        rest = self._filled - start
        if start and rest:
            self._scratch[:rest] = self._scratch[start : self._filled]
        self._filled = rest

    def _copy(self, start: int, end: int) -> None:
        """Give the stream what has come of its payload already."""
        stream = self._stream
        if stream is None:
            return
        if end - start == self._missing:
            stream.append(bytes(self._scratch[start:end]))
            return
        size = max(self._missing, self._available)
        while start < end and (buffer := stream.get_buffer(self._missing, size)) is not None:
            count = min(end - start, len(buffer))
            buffer[:count] = self._scratch[start : start + count]
            buffer.release()
            stream.arrived(count)
            start += count

    def _pass(self, count: int) -> None:
        self._missing -= count
        if self._stream is not None:
            flags = 0 if self._missing else self._flags
            self._handler.passed_untrusted(self._stream, flags)
