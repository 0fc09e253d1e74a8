"""Frames of one protocol's messages, made and read by what their fields say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar, cast

import attrs
import msgpack

from .._errors import RemoteProtocolError

MAX_FRAME_BYTES = 4096

_pack: Final = msgpack.Packer().pack  # msgpack.packb() makes a packer each time
_Check: TypeAlias = Callable[[Any], Any]


class _Typed(Protocol):
    """A message: an attrs class with a type, and fields that :func:`.fields.field` has made."""

    type: ClassVar[str]


M = TypeVar("M", bound=_Typed)


class MessageCodec(Generic[M]):
    """The messages of a protocol to frames, and their payloads back.

    Args:
        types: the classes of all messages.
    """

    def __init__(self, types: Iterable[type[M]]) -> None:
        types = tuple(types)
        self._fields: dict[type[M], list[tuple[str, _Check | None]]] = {
            cls: [(name, field.metadata["encode"]) for name, field in _fields_of(cls)]
            for cls in types
        }
        self._decoders: dict[str, tuple[type[M], list[tuple[str, _Check, bool]]]] = {
            cls.type: (
                cls,
                [
                    (name, field.metadata["check"], field.default is attrs.NOTHING)
                    for name, field in _fields_of(cls)
                ],
            )
            for cls in types
        }

    def encode(self, message: M) -> bytes:
        """The frame that carries the message."""
        fields: dict[str, Any] = {"type": message.type}
        for name, encode_value in self._fields[type(message)]:
            value = getattr(message, name)
            if encode_value is not None:
                value = encode_value(value)
            if value is not None:
                fields[name] = value
        frame: bytes = _pack(_pack(fields))
        return frame

    def decode_untrusted(self, payload: bytes) -> M:
        """The message that a frame's payload holds.

        Raises:
            RemoteProtocolError: there is no valid message in it.
        """
        fields = _unpack_untrusted(payload)
        kind = fields.get("type")
        decoder = self._decoders.get(kind) if isinstance(kind, str) else None
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


def _fields_of(cls: type[Any]) -> Iterable[tuple[str, attrs.Attribute[Any]]]:
    return attrs.fields_dict(cls).items()


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
