"""Messages between peers and broker to frames and back.

A frame is one msgpack ``bin`` object (0xc4 or 0xc5 and its length) that holds one packed message:
any language's streaming unpacker can read the stream, and a frame's length is known, and refused
if too large, before anything is decoded.

Hostile bytes raise :exc:`RemoteProtocolError` and nothing else.
"""

from __future__ import annotations

from .._errors import RemoteProtocolError
from .message_codec import MAX_FRAME_BYTES as MAX_FRAME_BYTES, MessageCodec
from .messages import MESSAGE_TYPES, Message

_BIN8, _BIN16 = 0xC4, 0xC5

_codec: MessageCodec[Message] = MessageCodec(MESSAGE_TYPES)
encode, decode_untrusted = _codec.encode, _codec.decode_untrusted


class FrameReader:
    """Cuts a stream of bytes into the payloads of its frames; holds one frame at most."""

    __slots__ = ("_data", "_position")

    def __init__(self) -> None:
        self._data = b""  # costs nothing between two frames, where most readers are
        self._position = 0  # of the next frame

    def feed(self, data: bytes | bytearray) -> None:
        """Take what the stream brought. Empty it with :meth:`next_untrusted` before the next."""
        if self._data:
            self._data = self._data[self._position :] + data
        else:
            self._data = bytes(data)
        self._position = 0

    @property
    def is_empty(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._data

    def take_rest(self) -> bytes:
        """Remove and return what has come behind the frames that were taken."""
        rest = self._data[self._position :]
        self._data, self._position = b"", 0
        return rest

    def next_untrusted(self) -> bytes | None:
        """The next whole frame's payload, or None while there is none.

        Raises:
            RemoteProtocolError: what came is no frame, or one too large.
        """
        data, position = self._data, self._position
        there = len(data) - position
        if not there:
            return None
        if data[position] == _BIN8:
            if there < 2:
                return None
            start, length = position + 2, data[position + 1]
        elif data[position] == _BIN16:
            if there < 3:
                return None
            start, length = position + 3, data[position + 1] << 8 | data[position + 2]
        else:
            raise RemoteProtocolError("got bytes that are not a frame")
        if length > MAX_FRAME_BYTES:
            raise RemoteProtocolError(
                f"got a frame of {length} bytes; {MAX_FRAME_BYTES} are the limit"
            )
        end = start + length
        if len(data) < end:
            return None
        if len(data) == end:
            self._data, self._position = b"", 0
        else:
            self._position = end
        return data[start:end]
