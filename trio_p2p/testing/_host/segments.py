"""TCP segments of simulated hosts, as packets. No I/O here."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from .._internet.packets import TCP, Endpoint, Packet

# Ports, sequence number, acknowledgement, length of the header, flags, window; then checksum and
# urgent pointer. Nothing on the way corrupts bytes, so no host looks at the checksum.
_HEADER: Final = struct.Struct("!HHIIBBHxxxx")
_IP_BYTES: Final = 20
_DATA: Final = _IP_BYTES + _HEADER.size
_TTL: Final = 8
_WORDS: Final = 0x50  # a header of five words, without options
# All simulated hosts scale windows alike, so that none has to tell another one.
_WINDOW_SCALE: Final = 7
MODULUS: Final = 1 << 32  # of sequence numbers


class Segment(NamedTuple):
    """What a TCP segment says.

    Attributes:
        sequence: the number of its first byte.
        acknowledgement: the number of the byte that its sender waits for, if it has an ACK.
        flags: its flags.
        window: how many bytes its sender takes.
        data: its data.
    """

    sequence: int
    acknowledgement: int
    flags: int
    window: int
    data: bytes


def build_segment(
    source: Endpoint, destination: Endpoint, segment: Segment, hops: int | None = None
) -> Packet:
    """A packet with a segment, which lives for some hops; for as many as usual if None."""
    header = _HEADER.pack(
        source.port,
        destination.port,
        segment.sequence,
        segment.acknowledgement,
        _WORDS,
        segment.flags,
        min(segment.window >> _WINDOW_SCALE, 0xFFFF),
    )
    payload = bytearray(header)
    payload += segment.data
    packet = Packet.build(TCP, source.address, destination.address, payload)
    if hops is not None:
        packet.ttl = packet.data[_TTL] = hops
    return packet


def read_segment(packet: Packet) -> Segment:
    """The segment in a TCP packet of a simulated host or NAT."""
    _, _, sequence, acknowledgement, _, flags, window = _HEADER.unpack_from(packet.data, _IP_BYTES)
    data = bytes(packet.data[_DATA:])
    return Segment(sequence, acknowledgement, flags, window << _WINDOW_SCALE, data)


def distance(one: int, other: int) -> int:
    """How far a sequence number is ahead of another one; negative behind it."""
    half = MODULUS // 2
    return (one - other + half) % MODULUS - half
