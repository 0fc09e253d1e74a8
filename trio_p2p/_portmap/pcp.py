"""The messages of the Port Control Protocol (RFC 6887) that map a TCP port. Pure.

A response counts only if it fits its request: the 96-bit nonce is what an attacker who does not see
our packets cannot guess. That it came from the router is for the socket to see to.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address, IPv6Address

import attrs

from .._addresses import Endpoint, IPAddress
from .._errors import RemoteProtocolError

SERVER_PORT = 5351  # NAT-PMP's, too
ANNOUNCEMENT_PORT = 5350  # where hosts listen; NAT-PMP's, too
NONCE_BYTES = 12
MIN_LIFETIME = 120  # seconds; routers should not grant less (section 15)
MAX_MESSAGE_BYTES = 1100  # section 7

_VERSION = 2
_ANNOUNCE, _MAP = 0, 1
_RESPONSE = 0x80
_TCP = 6
_REQUEST_HEADER = struct.Struct("!BBHI16s")  # section 7.1: version, opcode, 0, lifetime, client
_RESPONSE_HEADER = struct.Struct("!BBxBII12x")  # section 7.2: ..., result, lifetime, epoch time
_MAPPING = struct.Struct("!12sB3xHH16s")  # section 11.1: nonce, protocol, two ports, external


class PcpResult(enum.IntEnum):
    """Result codes (section 7.4)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@attrs.frozen
class MapRequest:
    """A request to map a TCP port, to renew its mapping or to delete it.

    Attributes:
        nonce: 12 bytes that stay the same as long as the mapping lives.
        client: the address that the request is sent from.
        internal_port: the port to map.
        lifetime: in seconds; 0 deletes the mapping.
        suggested: the external endpoint that is wanted; the router may give another one.
    """

    nonce: bytes
    client: IPv4Address
    internal_port: int
    lifetime: int
    suggested: Endpoint | None = None

    def encode(self) -> bytes:
        """The request as it is sent."""
        address, port = IPv4Address(0), 0
        if self.suggested is not None and isinstance(self.suggested.address, IPv4Address):
            address, port = self.suggested.address, self.suggested.port
        header = _REQUEST_HEADER.pack(_VERSION, _MAP, 0, self.lifetime, _mapped(self.client))
        return header + _MAPPING.pack(self.nonce, _TCP, self.internal_port, port, _mapped(address))


@attrs.frozen
class MapResponse:
    """What a router answers to a :class:`MapRequest`.

    Attributes:
        result: the result code, one of :class:`PcpResult` or one that is yet to be defined.
        lifetime: for how many seconds the result holds.
        epoch: how many seconds ago the router lost or began its table of mappings.
        external: the external endpoint, if the result is success.
    """

    result: int
    lifetime: int = 0
    epoch: int = 0
    external: Endpoint | None = None


def read_map_response_untrusted(data: bytes, request: MapRequest) -> MapResponse:
    """Read what may be the response to a request (section 8.3).

    A router that knows other versions only, or nothing but NAT-PMP, is understood as well: its
    result is ``UNSUPP_VERSION``.

    Raises:
        RemoteProtocolError: it is something else.
    """
    if len(data) > 3 and data[1] & _RESPONSE and data[3] == PcpResult.UNSUPP_VERSION:
        return MapResponse(PcpResult.UNSUPP_VERSION)
    result, lifetime, epoch = _read_header_untrusted(data, _MAP)
    if len(data) < _RESPONSE_HEADER.size + _MAPPING.size:
        raise RemoteProtocolError(f"a MAP response of {len(data)} bytes is too short")
    nonce, protocol, internal_port, port, packed = _MAPPING.unpack_from(data, _RESPONSE_HEADER.size)
    if (nonce, protocol, internal_port) != (request.nonce, _TCP, request.internal_port):
        raise RemoteProtocolError("a response to another request")
    if result != PcpResult.SUCCESS or request.lifetime == 0:
        return MapResponse(result, lifetime, epoch)
    address = _unmapped(packed)
    if address.is_unspecified or not port or not lifetime:
        raise RemoteProtocolError("a response that maps nothing")
    return MapResponse(result, lifetime, epoch, Endpoint(address, port))


def read_announcement_untrusted(data: bytes) -> int:
    """The epoch time in seconds that an ANNOUNCE response tells (section 14.1).

    Raises:
        RemoteProtocolError: it is something else.
    """
    result, _, epoch = _read_header_untrusted(data, _ANNOUNCE)
    if result != PcpResult.SUCCESS:
        raise RemoteProtocolError(f"an announcement of {name_of(result)}")
    return epoch


def name_of(result: int) -> str:
    """What the RFC calls a result code."""
    try:
        return PcpResult(result).name
    except ValueError:
        return f"result code {result}"


def _read_header_untrusted(data: bytes, opcode: int) -> tuple[int, int, int]:
    """Result, lifetime and epoch time."""
    if not _RESPONSE_HEADER.size <= len(data) <= MAX_MESSAGE_BYTES or len(data) % 4:
        raise RemoteProtocolError(f"no PCP message has {len(data)} bytes")
    version, its_opcode, result, lifetime, epoch = _RESPONSE_HEADER.unpack_from(data)
    if (version, its_opcode) != (_VERSION, _RESPONSE | opcode):
        raise RemoteProtocolError(f"version {version}, opcode {its_opcode} is no such response")
    return result, lifetime, epoch


def _mapped(address: IPv4Address) -> bytes:
    """An IPv4-mapped IPv6 address (section 5)."""
    return bytes(10) + b"\xff\xff" + address.packed


def _unmapped(packed: bytes) -> IPAddress:
    address = IPv6Address(packed)
    return address if address.ipv4_mapped is None else address.ipv4_mapped
