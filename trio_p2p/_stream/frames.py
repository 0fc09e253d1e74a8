"""The frames of a session, which travel inside TLS. Pure.

Each is a msgpack array of a kind, a number and a payload, with every length field at its full
size. So a header has one fixed length, and the stream stays valid msgpack.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

import attrs

from .._errors import RemoteProtocolError
from .._wire.messages import INSTANCE_BYTES

MAX_PIECE_BYTES = 262_144  # of one stream, at a time: sixteen full TLS records
MAX_PAYLOAD_BYTES = MAX_PIECE_BYTES + 64  # and what precedes it
SLOW_PAYLOAD_BYTES = 32_768  # over a slow path
MIN_WINDOW = 512 * 1024  # bytes that a side can hold at least until they are acknowledged
MAX_WINDOW = 2**32 - 1
MAX_CONTROL_BYTES = 512
SESSION_ID_BYTES = 16

_HEADER = struct.Struct(">BBBQBI")  # array of 3, kind, uint 64: number, bin 32: payload
_ARRAY_OF_3, _UINT_64, _BIN_32 = 0x93, 0xCF, 0xC6
_HELLO = struct.Struct(f">{SESSION_ID_BYTES}s{INSTANCE_BYTES}sIIB")
_IS_NEW, _IS_ONLY = 1, 2  # its flags
HELLO_BYTES = _HEADER.size + _HELLO.size
MAX_NUMBER = 2**63 - 1


class Kind(enum.IntEnum):
    """What a frame says, and what its number means."""

    HELLO = 0
    """This path carries that session; so many bytes have been received."""
    DATA = 1
    """Bytes from this offset on."""
    ACK = 2
    """So many bytes have been received; the end counts as one."""
    PING = 3
    """The sender waits for an acknowledgement of the bytes up to this offset."""
    CLOSE = 4
    """The bytes end at this offset, and none of the other direction are read any more."""
    ABORT = 5
    """The session is over at once: an :class:`AbortCode`; the payload says why, in words."""


class AbortCode(enum.IntEnum):
    """Why a session is over."""

    GIVEN_UP = 0
    """The side that says it has given up, or was aborted; unknown codes mean the same."""
    NOT_ADMITTED = 1
    """The acceptor does not admit the peer."""
    UNKNOWN_SESSION = 2
    """The acceptor does not know the session, or not any more."""


@attrs.frozen
class PathHello:
    """How a path begins.

    Attributes:
        received: how many bytes this side has received on earlier paths.
        session: which session the path belongs to.
        path: the number of the path in the session; the highest one counts.
        window: how many bytes this side holds that are not acknowledged, at most.
        instance: what tells this side's program from others of the same identity.
        is_new: whether this side has not heard of the other one in this session yet.
        is_only: whether this side's program has opened no other session with the same peer that
            it still wants.
    """

    received: int
    session: bytes = attrs.field(repr=False)
    path: int
    window: int
    instance: bytes = attrs.field(repr=False)
    is_new: bool = False
    is_only: bool = False

    def encode(self) -> bytes:
        """The frame."""
        flags = _IS_NEW * self.is_new | _IS_ONLY * self.is_only
        payload = _HELLO.pack(self.session, self.instance, self.path, self.window, flags)
        return header(Kind.HELLO, self.received, len(payload)) + payload

    @classmethod
    def decode_untrusted(cls, received: int, payload: bytes) -> PathHello:
        """What a frame of this kind says.

        Raises:
            RemoteProtocolError: it is malformed.
        """
        if len(payload) != _HELLO.size or payload[-1] > _IS_NEW | _IS_ONLY:
            raise RemoteProtocolError("got a malformed hello on a path")
        session, instance, path, window, flags = _HELLO.unpack(payload)
        return cls(
            received,
            session,
            path,
            window,
            instance,
            is_new=bool(flags & _IS_NEW),
            is_only=bool(flags & _IS_ONLY),
        )


class Frame(NamedTuple):
    """A frame; of DATA, only what precedes the payload.

    Attributes:
        kind: what it says.
        number: what that is about.
        length: of the payload, in bytes.
        payload: what belongs to it; nothing if it is DATA.
    """

    kind: Kind
    number: int
    length: int
    payload: bytes


def abort(code: AbortCode, reason: str) -> bytes:
    """The frame that ends a session."""
    payload = reason.encode(errors="replace")[:MAX_CONTROL_BYTES]
    return header(Kind.ABORT, code, len(payload)) + payload


def words_of_untrusted(payload: bytes) -> str:
    """Text of the other side, as it can be shown on a line."""
    text = payload.decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def header(kind: Kind, number: int, length: int = 0) -> bytes:
    """The header of a frame with a payload of this length."""
    return _HEADER.pack(_ARRAY_OF_3, kind, _UINT_64, number, _BIN_32, length)


class FrameParser:
    """Cuts the bytes of a path into frames; holds no more than one control frame.

    The payload of DATA does not pass through it: the caller puts those bytes elsewhere, as
    long as :attr:`missing` is not 0, and says so by :meth:`pass_over`.

    Attributes:
        missing: how many bytes of DATA come next.
        offset: where in the stream they begin.
    """

    __slots__ = ("_buffer", "_filled", "_wanted", "missing", "offset")

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_HEADER.size + MAX_CONTROL_BYTES))
        self._filled = 0
        self._wanted = _HEADER.size
        self.missing: int = 0
        self.offset: int = 0

    def get_buffer(self) -> memoryview:
        """Where the next bytes go that are not DATA."""
        return self._buffer[self._filled : self._wanted]

    def buffer_updated_untrusted(self, count: int) -> Frame | None:
        """Take so many bytes that were put there; return the frame that they complete, if any.

        Raises:
            RemoteProtocolError: they are no frame.
        """
        self._filled += count
        if self._filled < self._wanted:
            return None
        array, kind_number, uint, number, binary, length = _HEADER.unpack_from(self._buffer)
        if (array, uint, binary) != (_ARRAY_OF_3, _UINT_64, _BIN_32) or number > MAX_NUMBER:
            raise RemoteProtocolError("got bytes on a path that are no frame")
        kind = _KINDS.get(kind_number)
        if kind is None:
            raise RemoteProtocolError(f"got a frame of unknown kind {kind_number} on a path")
        if kind is Kind.DATA:
            if not 0 < length <= MAX_PAYLOAD_BYTES:
                raise RemoteProtocolError(f"got a data frame of {length} bytes")
            self.missing, self.offset = length, number
            payload = b""
        else:
            if length > MAX_CONTROL_BYTES:
                raise RemoteProtocolError(f"got a control frame of {length} bytes")
            self._wanted = _HEADER.size + length
            if self._filled < self._wanted:
                return None
            payload = bytes(self._buffer[_HEADER.size : self._wanted])
        self._filled, self._wanted = 0, _HEADER.size
        return Frame(kind, number, length, payload)

    def pass_over(self, count: int) -> None:
        """Count so many of the missing bytes of DATA, which have come."""
        self.missing -= count
        self.offset += count


class HelloReader:
    """Takes the hello that a path begins with, and not a byte more.

    Attributes:
        hello: the hello, once all of it has come.
    """

    def __init__(self) -> None:
        self.hello: PathHello | None = None
        self._frames = FrameParser()

    def get_buffer(self, _size: int) -> memoryview:
        """Where the next bytes go; empty if there is nothing more to take."""
        return self._frames.get_buffer()[: 0 if self.hello else None]

    def buffer_updated(self, count: int) -> None:
        """Take so many bytes that were put there.

        Raises:
            RemoteProtocolError: the path does not begin with a hello.
        """
        frame = self._frames.buffer_updated_untrusted(count)
        if frame is not None:
            if frame.kind is not Kind.HELLO:
                raise RemoteProtocolError("got a path that does not begin with a hello")
            self.hello = PathHello.decode_untrusted(frame.number, frame.payload)


_KINDS = {kind.value: kind for kind in Kind}
