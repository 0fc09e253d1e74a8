"""IPv4 packets as routers treat them: read, changed in place, refused.

Addresses are as on the wire, four bytes. Checksums are changed along, not computed anew (RFC 1624),
so that the length of a packet does not matter.
"""

import struct
from typing import NamedTuple, Self

ICMP = 1
TCP = 6
UDP = 17
# TCP's flags (RFC 9293, 3.1)
FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10

INITIAL_TTL = 64
_MAX_QUOTE = 548  # RFC 1812, 4.3.2.3: the whole error fits into 576 bytes
_MIN_QUOTE = 28  # RFC 792: the header and 64 bits, which hold the ports
_FIRST_MULTICAST = 224

# Version and length of the header, length of the packet, fragment, TTL, protocol, addresses
_IP = struct.Struct("!BxHxxHBBxx4s4s")
_IP_BYTES = _IP.size
_NO_OPTIONS = 0x45
_FRAGMENT = 0x3FFF
_TTL = 8
_IP_CHECKSUM = 10
_ADDRESSES = slice(12, 20)
# Ports, sequence number, acknowledgement, length of the header, flags
_TCP = struct.Struct("!HHIIBB")
_PORTS = struct.Struct("!HH")
_TCP_CHECKSUM = 36
_ICMP_BYTES = 8
_QUOTE = _IP_BYTES + _ICMP_BYTES
_WORD = struct.Struct("!H")


class Endpoint(NamedTuple):
    """An address and a port; its first n fields are what a NAT of a `Dependence` n looks at."""

    address: bytes
    port: int


class IcmpError(NamedTuple):
    """Type and code (RFC 792, RFC 1812)."""

    type: int
    code: int


NETWORK_UNREACHABLE = IcmpError(3, 0)
PORT_UNREACHABLE = IcmpError(3, 3)
ADMIN_PROHIBITED = IcmpError(3, 13)
TIME_EXCEEDED = IcmpError(11, 0)
_ERROR_TYPES = (NETWORK_UNREACHABLE.type, TIME_EXCEEDED.type)


class Packet:
    """A packet, whose `data` is kept up to date; ICMP has the port 0."""

    __slots__ = ("data", "destination", "flags", "protocol", "sequence", "source", "ttl")

    data: bytearray
    destination: Endpoint
    flags: int
    protocol: int
    sequence: int
    source: Endpoint
    ttl: int

    def __init__(self, data: bytearray) -> None:
        self.data = data
        _, _, _, self.ttl, self.protocol, source, destination = _IP.unpack_from(data)
        self.sequence = self.flags = source_port = destination_port = 0
        if self.protocol == TCP and len(data) >= _IP_BYTES + _TCP.size:
            source_port, destination_port, self.sequence, _, _, self.flags = _TCP.unpack_from(
                data, _IP_BYTES
            )
        elif self.protocol != ICMP:
            source_port, destination_port = _PORTS.unpack_from(data, _IP_BYTES)
        self.source = Endpoint(source, source_port)
        self.destination = Endpoint(destination, destination_port)

    @classmethod
    def parse(cls, data: bytearray) -> Self | None:
        """Read a packet; None if it is one of those that do not occur here."""
        if len(data) < _MIN_QUOTE or data[0] != _NO_OPTIONS:
            return None
        _, length, fragment, *_ = _IP.unpack_from(data)
        return None if fragment & _FRAGMENT or length != len(data) else cls(data)

    @classmethod
    def build(cls, protocol: int, source: bytes, destination: bytes, payload: bytearray) -> Self:
        """Make a packet of a payload in which the checksum is right already."""
        length = _IP_BYTES + len(payload)
        header = bytearray(
            _IP.pack(_NO_OPTIONS, length, 0, INITIAL_TTL, protocol, source, destination)
        )
        _WORD.pack_into(header, _IP_CHECKSUM, _checksum(header))
        return cls(header + payload)

    def decrement_ttl(self) -> None:
        self.ttl -= 1
        self.data[_TTL] = self.ttl
        self._adjust(_IP_CHECKSUM, -0x0100)

    def set_source(self, endpoint: Endpoint) -> None:
        """Translate where the packet comes from."""
        self._adjust_all(self.source, endpoint)
        self.source = endpoint
        self._write_endpoints()

    def set_destination(self, endpoint: Endpoint) -> None:
        """Translate where the packet goes to."""
        self._adjust_all(self.destination, endpoint)
        self.destination = endpoint
        self._write_endpoints()

    @property
    def error(self) -> IcmpError | None:
        """What the packet reports, if it is an ICMP error."""
        if self.protocol != ICMP or self.data[_IP_BYTES] not in _ERROR_TYPES:
            return None
        return IcmpError(self.data[_IP_BYTES], self.data[_IP_BYTES + 1])

    def quote(self) -> "Packet | None":
        """The beginning, with the ports at least, of the packet that an ICMP error is about."""
        quoted = self.data[_QUOTE:]
        if len(quoted) < _MIN_QUOTE or quoted[0] != _NO_OPTIONS:
            return None
        return Packet(quoted)

    def set_quote(self, quote: "Packet") -> None:
        """Translate the packet that an ICMP error is about."""
        self.data[_QUOTE:] = quote.data
        _WORD.pack_into(self.data, _IP_BYTES + 2, 0)
        _WORD.pack_into(self.data, _IP_BYTES + 2, _checksum(self.data[_IP_BYTES:]))

    def reset(self) -> "Packet | None":
        """The RST that answers a segment (RFC 9293, 3.10.7.1); None answers another RST."""
        if self.protocol != TCP or self.flags & RST:
            return None
        _, _, _, acknowledged, offset, _ = _TCP.unpack_from(self.data, _IP_BYTES)
        if self.flags & ACK:
            sequence, acknowledgement, flags = acknowledged, 0, RST
        else:
            length = len(self.data) - _IP_BYTES - (offset >> 4) * 4
            length += bool(self.flags & SYN) + bool(self.flags & FIN)
            sequence, acknowledgement = 0, (self.sequence + length) & 0xFFFFFFFF
            flags = RST | ACK
        ports = self.destination.port, self.source.port
        segment = bytearray(_TCP.pack(*ports, sequence, acknowledgement, 0x50, flags) + bytes(6))
        pseudo_header = self.data[_ADDRESSES] + bytes((0, TCP)) + _WORD.pack(len(segment))
        checksum = _checksum(pseudo_header + segment)
        _WORD.pack_into(segment, _TCP_CHECKSUM - _IP_BYTES, checksum)
        return Packet.build(TCP, self.destination.address, self.source.address, segment)

    def report(self, error: IcmpError, reporter: bytes) -> "Packet | None":
        """The ICMP error about a packet; None is about another error, or a multicast."""
        if self.protocol == ICMP or self.destination.address[0] >= _FIRST_MULTICAST:
            return None
        message = bytearray(struct.pack("!BBHI", *error, 0, 0) + self.data[:_MAX_QUOTE])
        _WORD.pack_into(message, 2, _checksum(message))
        return Packet.build(ICMP, reporter, self.source.address, message)

    def _adjust_all(self, old: Endpoint, new: Endpoint) -> None:
        change = int.from_bytes(new.address) - int.from_bytes(old.address)
        self._adjust(_IP_CHECKSUM, change)
        # A quote may end before it. RFC 9293 has the addresses in TCP's checksum, too.
        if self.protocol == TCP and len(self.data) >= _TCP_CHECKSUM + _WORD.size:
            self._adjust(_TCP_CHECKSUM, change + new.port - old.port)

    def _adjust(self, at: int, change: int) -> None:
        [checksum] = _WORD.unpack_from(self.data, at)
        _WORD.pack_into(self.data, at, _complement(0xFFFF - checksum + change))

    def _write_endpoints(self) -> None:
        self.data[_ADDRESSES] = self.source.address + self.destination.address
        if self.protocol == TCP:
            _PORTS.pack_into(self.data, _IP_BYTES, self.source.port, self.destination.port)


def _checksum(data: bytes | bytearray) -> int:
    """The internet checksum (RFC 1071) of data in which its own place is zero yet."""
    # Ones' complement sums are sums modulo 65,535, and so are all the digits of a number to the
    # base 65,536.
    return _complement(int.from_bytes(data + bytes(len(data) % 2)))


def _complement(total: int) -> int:
    # Sums of 0 and of 65,535 are the same, and so are their complements.
    return 0xFFFF - total % 0xFFFF
