"""The messages of the NAT Port Mapping Protocol (RFC 6886) that map a TCP port. Pure.

There is no nonce: a response counts if its opcode and its internal port fit.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address

import attrs

from .._errors import RemoteProtocolError

_VERSION = 0
_EXTERNAL_ADDRESS, _MAP_TCP = 0, 2
_RESPONSE = 0x80
_MAP_REQUEST = struct.Struct("!BBxxHHI")  # section 3.3: ..., internal, external port, lifetime
_RESPONSE_HEADER = struct.Struct("!BBHI")  # section 3.5: version, opcode, result, epoch
_ADDRESS = struct.Struct("!4s")  # section 3.2
_MAPPING = struct.Struct("!HHI")  # section 3.3: internal, external port, lifetime


class NatPmpResult(enum.IntEnum):
    """Result codes (section 3.5)."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


EXTERNAL_ADDRESS_REQUEST = bytes((_VERSION, _EXTERNAL_ADDRESS))


@attrs.frozen
class AddressResponse:
    """What a router says about its external address, asked or unasked.

    Attributes:
        result: the result code, one of :class:`NatPmpResult` or an unknown one.
        epoch: how many seconds ago the router lost or began its table of mappings.
        address: the external address, if the result is success.
    """

    result: int
    epoch: int = 0
    address: IPv4Address | None = None


@attrs.frozen
class MapRequest:
    """A request to map a TCP port, to renew its mapping or to delete it.

    Attributes:
        internal_port: the port to map.
        lifetime: in seconds; 0 deletes the mapping.
        suggested_port: the external port that is wanted; the router may give another one.
    """

    internal_port: int
    lifetime: int
    suggested_port: int = 0

    def encode(self) -> bytes:
        """The request as it is sent."""
        return _MAP_REQUEST.pack(
            _VERSION, _MAP_TCP, self.internal_port, self.suggested_port, self.lifetime
        )


@attrs.frozen
class MapResponse:
    """What a router answers to a :class:`MapRequest`.

    Attributes:
        result: the result code, one of :class:`NatPmpResult` or an unknown one.
        epoch: how many seconds ago the router lost or began its table of mappings.
        external_port: where it is mapped, if the result is success.
        lifetime: for how many seconds.
    """

    result: int
    epoch: int = 0
    external_port: int = 0
    lifetime: int = 0


def read_address_response_untrusted(data: bytes) -> AddressResponse:
    """Read what may be a response to the request for the external address, or an announcement.

    Raises:
        RemoteProtocolError: it is something else.
    """
    result, epoch, body = _read_header_untrusted(data, _EXTERNAL_ADDRESS)
    if result != NatPmpResult.SUCCESS:
        return AddressResponse(result, epoch)
    if len(body) != _ADDRESS.size:
        raise RemoteProtocolError(f"no external address has {len(body)} bytes")
    address = IPv4Address(body)
    if address.is_unspecified:
        raise RemoteProtocolError("the router has no external address")
    return AddressResponse(result, epoch, address)


def read_map_response_untrusted(data: bytes, request: MapRequest) -> MapResponse:
    """Read what may be the response to a request.

    Raises:
        RemoteProtocolError: it is something else.
    """
    result, epoch, body = _read_header_untrusted(data, _MAP_TCP)
    if result != NatPmpResult.SUCCESS:
        return MapResponse(result, epoch)
    if len(body) != _MAPPING.size:
        raise RemoteProtocolError(f"no mapping has {len(body)} bytes")
    internal_port, external_port, lifetime = _MAPPING.unpack(body)
    if internal_port != request.internal_port:
        raise RemoteProtocolError("a response to another request")
    if request.lifetime and not (external_port and lifetime):
        raise RemoteProtocolError("a response that maps nothing")
    return MapResponse(result, epoch, external_port, lifetime)


def name_of(result: int) -> str:
    """What the RFC calls a result code, nearly."""
    try:
        return NatPmpResult(result).name
    except ValueError:
        return f"result code {result}"


def _read_header_untrusted(data: bytes, opcode: int) -> tuple[int, int, bytes]:
    """Result, epoch and the rest."""
    # Also what a PCP server answers that knows no NAT-PMP (RFC 6887, section 9).
    if len(data) > 3 and data[1] & _RESPONSE and data[3] == NatPmpResult.UNSUPPORTED_VERSION:
        return NatPmpResult.UNSUPPORTED_VERSION, 0, b""
    if len(data) < _RESPONSE_HEADER.size:
        raise RemoteProtocolError(f"no response has {len(data)} bytes")
    version, its_opcode, result, epoch = _RESPONSE_HEADER.unpack_from(data)
    if (version, its_opcode) != (_VERSION, _RESPONSE | opcode):
        raise RemoteProtocolError(f"version {version}, opcode {its_opcode} is no such response")
    return result, epoch, data[_RESPONSE_HEADER.size :]
