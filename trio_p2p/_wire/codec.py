"""Messages to frames and back.

A frame is one msgpack ``bin`` object (0xc4 or 0xc5 and its length) that holds one packed message:
any language's streaming unpacker can read the stream, and a frame's length is known, and refused
if too large, before anything is decoded.

Hostile bytes raise :exc:`RemoteProtocolError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import attrs
import msgpack

from .._errors import RemoteProtocolError
from .messages import MESSAGE_TYPES, Message

MAX_FRAME_BYTES = 4096

_BIN8, _BIN16 = 0xC4, 0xC5

_pack: Final = msgpack.Packer().pack  # msgpack.packb() makes a packer each time


def encode(message: Message) -> bytes:
    """The frame that carries the message."""
    fields: dict[str, Any] = {"type": message.type}
    for name, encode_value in _FIELDS[type(message)]:
        value = getattr(message, name)
        if encode_value is not None:
            value = encode_value(value)
        if value is not None:
            fields[name] = value
    frame: bytes = _pack(_pack(fields))
    return frame


def decode_untrusted(payload: bytes) -> Message:
    """The message that a frame's payload holds.

    Raises:
        RemoteProtocolError: there is no valid message in it.
    """
    fields = _unpack_untrusted(payload)
    kind = fields.get("type")
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise RemoteProtocolError("got a message of an unknown type")
    cls, checks = decoder
    values: dict[str, Any] = {}
    for name, check, required in checks:
        if name in fields:
            try:
                values[name] = check(fields[name])
            except ValueError as error:
                raise RemoteProtocolError(
                    f"got a {cls.type} message with a bad {name}: {error}"
                ) from None
        elif required:
            raise RemoteProtocolError(f"got a {cls.type} message without {name}")
    return cls(**values)


def _unpack_untrusted(payload: bytes) -> dict[object, Any]:
    # Without these limits 2.5 KB of nested array headers allocate 39 MiB.
    try:
        fields = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_FRAME_BYTES,
            max_bin_len=MAX_FRAME_BYTES,
            max_array_len=64,
            max_map_len=32,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException):
        raise RemoteProtocolError("got a frame that holds no msgpack of ours") from None
    # No repr of the value anywhere: that of a deeply nested one raises RecursionError.
    if not isinstance(fields, dict):
        raise RemoteProtocolError("got a frame that does not hold a map")
    return cast("dict[object, Any]", fields)


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


_Check = Callable[[Any], Any]
_FIELDS: dict[type[Message], list[tuple[str, _Check | None]]] = {
    cls: [(name, field.metadata["encode"]) for name, field in attrs.fields_dict(cls).items()]
    for cls in MESSAGE_TYPES
}
_DECODERS: dict[str, tuple[type[Message], list[tuple[str, _Check, bool]]]] = {
    cls.type: (
        cls,
        [
            (name, field.metadata["check"], field.default is attrs.NOTHING)
            for name, field in attrs.fields_dict(cls).items()
        ],
    )
    for cls in MESSAGE_TYPES
}
