"""The frames of a session, which travel inside TLS. Pure.

Each is a msgpack array of a kind, a number and a payload, with every length field at its full
size. So a header has one fixed length, and the stream stays valid msgpack.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

import attrs

from .._errors import RemoteProtocolError

MAX_PAYLOAD_BYTES = 262_144  # sixteen full TLS records
MAX_CONTROL_BYTES = 512
SESSION_ID_BYTES = 16

_HEADER = struct.Struct(">BBBQBI")  # array of 3, kind, uint 64: number, bin 32: payload
_ARRAY_OF_3, _UINT_64, _BIN_32 = 0x93, 0xCF, 0xC6
_HELLO = struct.Struct(f">{SESSION_ID_BYTES}sI?")
HELLO_BYTES = _HEADER.size + _HELLO.size
MAX_NUMBER = 2**63 - 1


class Kind(enum.IntEnum):
    """What a frame says, and what its number means."""

    HELLO = 0
    """This path carries that session; so many bytes have been received."""
    DATA = 1
    """Bytes of the stream from this offset on."""
    EOF = 2
    """The stream ends at this offset."""
    ACK = 3
    """So many bytes have been received."""
    LIMIT = 4
    """Bytes up to this offset may be sent."""
    BLOCKED = 5
    """There is more to send than up to this limit."""
    CLOSE = 6
    """The stream ends at this offset, and nothing of the other direction is read any more."""
    ABORT = 7
    """The session is over at once: an :class:`AbortCode`; the payload says why, in words."""


class AbortCode(enum.IntEnum):
    """Why a session is over."""

    GIVEN_UP = 0
    NOT_ADMITTED = 1


@attrs.frozen
class Hello:
    """How a path begins.

    Attributes:
        received: how many bytes whoever says it has received on earlier paths.
        session: which session it is.
        path: the number of the path in the session; the highest one counts.
        is_new: whether whoever says it has not heard of the other side yet.
    """

    received: int
    session: bytes = attrs.field(repr=False)
    path: int
    is_new: bool

    def encode(self) -> bytes:
        """The frame."""
        payload = _HELLO.pack(self.session, self.path, self.is_new)
        return header(Kind.HELLO, self.received, len(payload)) + payload

    @classmethod
    def split_untrusted(cls, data: bytes) -> tuple[Hello, bytes] | None:
        """The hello that a path begins with, and what follows it; None if more has to come.

        Raises:
            RemoteProtocolError: it does not begin with one.
        """
        start, rest = data[:HELLO_BYTES], data[HELLO_BYTES:]
        [*frames] = FrameParser().feed_untrusted(start)
        match frames:
            case [Frame(Kind.HELLO, received, payload)]:
                return cls.decode_untrusted(received, bytes(payload)), rest
            case [] if len(start) < HELLO_BYTES:
                return None
            case _:
                raise RemoteProtocolError("got a path that does not begin with a hello")

    @classmethod
    def decode_untrusted(cls, received: int, payload: bytes) -> Hello:
        """What a frame of this kind says.

        Raises:
            RemoteProtocolError: it is malformed.
        """
        if len(payload) != _HELLO.size or payload[-1] > 1:
            raise RemoteProtocolError("got a malformed hello on a path")
        session, path, is_new = _HELLO.unpack(payload)
        return cls(received, session, path, is_new)


@attrs.frozen
class Frame:
    """A frame, or some of one: the payload of DATA comes in pieces as it arrives.

    Attributes:
        kind: what it says.
        number: what that is about; of a piece of DATA, the offset of its first byte.
        payload: bytes of the stream, to be copied before more is fed, or what else belongs to it.
    """

    kind: Kind
    number: int
    payload: bytes | memoryview


def abort(code: AbortCode, reason: str) -> bytes:
    """The frame that ends a session."""
    payload = reason.encode(errors="replace")[:MAX_CONTROL_BYTES]
    return header(Kind.ABORT, code, len(payload)) + payload


def header(kind: Kind, number: int, length: int = 0) -> bytes:
    """What precedes a payload of this length."""
    return _HEADER.pack(_ARRAY_OF_3, kind, _UINT_64, number, _BIN_32, length)


class FrameParser:
    """Cuts the bytes of a path into frames; holds no more than one control frame."""

    __slots__ = ("_buffer", "_missing", "_offset")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._missing = 0  # bytes of DATA that belong to the last header
        self._offset = 0  # where in the stream they begin

    def feed_untrusted(self, data: bytes | memoryview) -> Iterator[Frame]:
        """The frames that these bytes complete.

        Raises:
            RemoteProtocolError: they are no frames.
        """
        view = memoryview(data)
        while view:
            if self._missing:
                piece = view[: self._missing]
                view = view[len(piece) :]
                offset = self._offset
                self._missing -= len(piece)
                self._offset += len(piece)
                yield Frame(Kind.DATA, offset, piece)
                continue
            wanted = _HEADER.size - len(self._buffer)
            if wanted <= 0:
                wanted += self._control_length()
            self._buffer += view[:wanted]
            view = view[wanted:]
            yield from self._complete()

    def _control_length(self) -> int:
        length: int = _HEADER.unpack_from(self._buffer)[5]
        return length

    def _complete(self) -> Iterator[Frame]:
        """The frame that stands in the buffer, if it is whole."""
        if len(self._buffer) < _HEADER.size:
            return
        array, kind_number, uint, number, binary, length = _HEADER.unpack_from(self._buffer)
        if (array, uint, binary) != (_ARRAY_OF_3, _UINT_64, _BIN_32) or number > MAX_NUMBER:
            raise RemoteProtocolError("got bytes on a path that are no frame")
        if kind_number not in _KINDS:
            raise RemoteProtocolError(f"got a frame of unknown kind {kind_number} on a path")
        kind = Kind(kind_number)
        if kind is Kind.DATA:
            if not 0 < length <= MAX_PAYLOAD_BYTES:
                raise RemoteProtocolError(f"got a data frame of {length} bytes")
            self._missing, self._offset = length, number
            self._buffer.clear()
            return
        if length > MAX_CONTROL_BYTES:
            raise RemoteProtocolError(f"got a control frame of {length} bytes")
        if len(self._buffer) == _HEADER.size + length:
            payload = bytes(self._buffer[_HEADER.size :])
            self._buffer.clear()
            yield Frame(kind, number, payload)


_KINDS = frozenset(Kind)
