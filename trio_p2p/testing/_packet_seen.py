"""What a memory network tells of each packet, for tests that have to be understood."""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs

from .._addresses import Endpoint
from ._host.segments import read_segment
from ._internet.packets import ACK, FIN, ICMP, RST, SYN, Packet

_FLAGS = {"SYN": SYN, "FIN": FIN, "RST": RST, "ACK": ACK}


@attrs.frozen
class PacketSeen:
    """A packet that leaves a host, or arrives at one.

    Attributes:
        time: when, by Trio's clock.
        host: the host's name.
        is_outgoing: whether it leaves.
        source: where it comes from.
        destination: where it goes to.
        flags: ``"SYN"``, ``"SYN ACK"`` and so on; ``"ICMP"`` for an error of the network.
        length: how many bytes of data it carries.
    """

    time: float
    host: str
    is_outgoing: bool
    source: Endpoint
    destination: Endpoint
    flags: str
    length: int

    def __str__(self) -> str:
        arrow = "sends" if self.is_outgoing else "takes"
        way = f"{self.source} → {self.destination}"
        return f"{self.time:10.4f} {self.host} {arrow} {way} {self.flags} {self.length}"


def describe(packet: Packet, host: str, time: float, *, is_outgoing: bool) -> PacketSeen:
    """What to tell of a packet at a host."""
    source, destination = (
        Endpoint(IPv4Address(each.address), each.port)
        for each in (packet.source, packet.destination)
    )
    flags, length = "ICMP", 0
    if packet.protocol != ICMP:
        flags = " ".join(name for name, flag in _FLAGS.items() if packet.flags & flag)
        length = len(read_segment(packet).data)
    return PacketSeen(time, host, is_outgoing, source, destination, flags, length)
