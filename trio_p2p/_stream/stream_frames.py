"""The frames of streams, which travel in what a session carries. Pure.

Each is a msgpack array of a kind, a stream's number and a payload, with every length field at its
full size. So a header has one fixed length, and the bytes stay valid msgpack.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import attrs
import msgpack

from .._errors import (
    NotAdmittedError,
    P2PError,
    RemoteProtocolError,
    StreamAbortedError,
    UnknownProtocolError,
    UnknownUIDError,
)
from .._wire.fields import check_uid
from .._wire.uids import check_protocol
from .credit import FIRST_CREDIT
from .frames import MAX_PIECE_BYTES, words_of_untrusted

_HEADER = struct.Struct(">BBBIBI")  # array of 3, kind, uint 32: number, bin 32: payload
_ARRAY_OF_3, _UINT_32, _BIN_32 = 0x93, 0xCE, 0xC6
_LIMIT = struct.Struct(">Q")
HEADER_BYTES: Final = _HEADER.size
MAX_CONTROL_BYTES: Final = 512
MAX_STREAM_NUMBER: Final = 2**32 - 1
MAX_OFFSET: Final = 2**63 - 1

EOF_FLAG: Final = 1  # of DATA: this direction of the stream ends behind the payload
STOP_FLAG: Final = 2  # of DATA: the other direction is not read any more


class StreamFrameKind(enum.IntEnum):
    """What a frame says of its stream."""

    DATA = 0
    """Bytes; 1 to 3 are the same with flags."""
    OPEN = 4
    """The stream begins; the payload says for whom, and how many bytes may be sent at first."""
    CREDIT = 5
    """Bytes up to the offset in the payload may be sent."""
    RESET = 6
    """The stream is over in both directions; the payload says why: a code, and words."""
    STREAMS = 7
    """The number is that of streams which the other side may have open; there is no payload."""
    GOAWAY = 8
    """This side opens no more streams, and takes none from this number on."""


class ResetCode(enum.IntEnum):
    """Why a stream was reset."""

    ABORTED = 0
    """The application aborted it, or an unknown code came."""
    NOT_ADMITTED = 1
    """The receiver does not admit the peer."""
    UNKNOWN_UID = 2
    """No receiver of this UID is at this side."""
    UNKNOWN_PROTOCOL = 3
    """The receiver does not serve the protocol."""
    NOT_ACCEPTED = 4
    """This side accepts no streams that the other side opens."""
    DRAINING = 5
    """This side takes no new streams."""


@attrs.frozen
class StreamNames:
    """Whom a stream is for.

    Attributes:
        uid: the UID of a receiver; that which the connection was opened for if empty.
        protocol: the name of what is spoken on the stream; empty is the default one.
    """

    uid: str = ""
    protocol: str = ""


DEFAULT_NAMES: Final = StreamNames()


def stream_header(kind: int, number: int, length: int = 0) -> bytes:
    """The header of a frame with a payload of this length."""
    return _HEADER.pack(_ARRAY_OF_3, kind, _UINT_32, number, _BIN_32, length)


def open_frame(number: int, names: StreamNames, credit: int) -> bytes:
    """The frame with which a stream begins.

    Args:
        number: the stream's.
        names: whom it is for.
        credit: how many bytes either side may send at first.
    """
    payload = b""
    if credit != FIRST_CREDIT:
        payload = msgpack.packb([names.uid, names.protocol, credit])
    elif names != DEFAULT_NAMES:
        payload = msgpack.packb([names.uid, names.protocol])
    return stream_header(StreamFrameKind.OPEN, number, len(payload)) + payload


def credit_frame(number: int, limit: int) -> bytes:
    """The frame that says how much may be sent on a stream."""
    return stream_header(StreamFrameKind.CREDIT, number, _LIMIT.size) + _LIMIT.pack(limit)


def reset_frame(number: int, code: ResetCode, reason: str) -> bytes:
    """The frame that ends a stream at once."""
    payload = bytes([code]) + reason.encode(errors="replace")[: MAX_CONTROL_BYTES - 1]
    return stream_header(StreamFrameKind.RESET, number, len(payload)) + payload


def opening_of_untrusted(payload: bytes) -> tuple[StreamNames, int]:
    """Whom a stream is for, and how many bytes may be sent at first, as OPEN says.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    if not payload:
        return DEFAULT_NAMES, FIRST_CREDIT
    try:
        opening = msgpack.unpackb(payload, max_array_len=3, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise RemoteProtocolError("got a malformed opening of a stream") from error
    match opening:
        case [str(uid), str(protocol)]:
            credit = FIRST_CREDIT
        case [str(uid), str(protocol), int(credit)] if 0 <= credit <= MAX_OFFSET:
            pass
        case _:
            raise RemoteProtocolError("got a malformed opening of a stream")
    if not (uid or protocol):
        return DEFAULT_NAMES, credit
    try:
        return StreamNames(check_uid(uid) if uid else uid, check_protocol(protocol)), credit
    except ValueError as error:
        raise RemoteProtocolError(f"got wrong names of a stream: {error}") from error


def reset_error_of_untrusted(payload: bytes, names: StreamNames) -> P2PError:
    """The error that RESET means for a stream with these names."""
    code, words = payload[0] if payload else ResetCode.ABORTED, words_of_untrusted(payload[1:])
    match code:
        case ResetCode.NOT_ADMITTED:
            return NotAdmittedError(words)
        case ResetCode.UNKNOWN_UID:
            return UnknownUIDError(words, uid=names.uid)
        case ResetCode.UNKNOWN_PROTOCOL:
            return UnknownProtocolError(words, protocol=names.protocol)
        case _:
            return StreamAbortedError(words)


def limit_of_untrusted(payload: bytes) -> int:
    """Return the offset up to which CREDIT lets bytes be sent.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    if len(payload) != _LIMIT.size:
        raise RemoteProtocolError("got a malformed credit of a stream")
    (limit,) = _LIMIT.unpack(payload)
    if limit > MAX_OFFSET:
        raise RemoteProtocolError("got a credit that no stream can use")
    return int(limit)


def parse_header_untrusted(buffer: memoryview, start: int) -> tuple[int, int, int]:
    """Kind, number and length of payload of the frame whose header begins there.

    Raises:
        RemoteProtocolError: it is none.
    """
    array, kind, uint, number, binary, length = _HEADER.unpack_from(buffer, start)
    if (array, uint, binary) != (_ARRAY_OF_3, _UINT_32, _BIN_32):
        raise RemoteProtocolError("got bytes that are no frame of a stream")
    if kind <= EOF_FLAG | STOP_FLAG:
        if length > MAX_PIECE_BYTES:
            raise RemoteProtocolError(f"got a frame of {length} bytes of a stream")
    elif kind > StreamFrameKind.GOAWAY:
        raise RemoteProtocolError(f"got a frame of unknown kind {kind} of a stream")
    elif length > MAX_CONTROL_BYTES:
        raise RemoteProtocolError(f"got a control frame of {length} bytes of a stream")
    return kind, number, length
