"""A NAT of the lab between segments made by hand, with a clock to be moved."""

import struct
from ipaddress import IPv4Address
from random import Random

from trio_p2p.testing._internet.nat import Nat
from trio_p2p.testing._internet.packets import SYN, TCP, Endpoint, Packet
from trio_p2p.testing._internet.sessions import Side

from ..kit.lab import Dependence, NatBehaviour


def endpoint(address: str, port: int) -> Endpoint:
    return Endpoint(IPv4Address(address).packed, port)


INSIDE = IPv4Address("10.0.1.1").packed
OUTSIDE = IPv4Address("203.0.113.1").packed
HOST = endpoint("10.0.1.2", 5000)
OTHER_HOST = endpoint("10.0.1.3", 5000)
REMOTE = endpoint("198.51.100.101", 80)
SAME_ADDRESS = endpoint("198.51.100.101", 81)
STRANGER = endpoint("198.51.100.102", 80)


def segment(
    source: Endpoint,
    destination: Endpoint,
    flags: int = SYN,
    *,
    sequence: int = 1000,
    acknowledged: int = 0,
    ttl: int = 64,
    payload: bytes = b"",
) -> Packet:
    ports = source.port, destination.port
    header = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 0x50, flags, 64240, 0, 0)
    built = Packet.build(TCP, source.address, destination.address, bytearray(header + payload))
    struct.pack_into("!H", built.data, 36, 0xFFFF ^ tcp_sum(built.data))
    built.ttl = built.data[8] = ttl
    struct.pack_into("!H", built.data, 10, 0)
    struct.pack_into("!H", built.data, 10, 0xFFFF ^ words_sum(bytes(built.data[:20])))
    return built


def words_sum(data: bytes) -> int:
    """The sum of RFC 1071, the slow way."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def tcp_sum(data: bytearray) -> int:
    pseudo_header = data[12:20] + struct.pack("!BBH", 0, TCP, len(data) - 20)
    return words_sum(bytes(pseudo_header + data[20:]))


def assert_intact(packet: Packet) -> None:
    """The packet's checksums are right, and what it says of itself is what it is."""
    assert words_sum(bytes(packet.data[:20])) == 0xFFFF
    if packet.protocol == TCP:
        assert tcp_sum(packet.data) == 0xFFFF
    else:
        assert words_sum(bytes(packet.data[20:])) == 0xFFFF
    parsed = Packet.parse(bytearray(packet.data))
    assert parsed is not None
    for attribute in ("source", "destination", "ttl", "protocol", "flags", "sequence"):
        assert getattr(parsed, attribute) == getattr(packet, attribute)


MASQUERADE = NatBehaviour(mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT, tracks_isn=True)
OPEN = NatBehaviour(filtering=Dependence.ENDPOINT_INDEPENDENT)


class Bench:
    """A NAT between a host and the rest, and a clock."""

    def __init__(
        self,
        behaviour: NatBehaviour,
        *,
        inside: bytes = INSIDE,
        outside: bytes = OUTSIDE,
        seed: int = 0,
    ) -> None:
        self.now = 0.0
        self.nat = Nat(behaviour, inside=inside, outside=outside, random=Random(seed))

    def handle(self, sender: Side, packet: Packet) -> tuple[Side, Packet] | None:
        outcome = self.nat.handle(sender, packet, self.now)
        if outcome is not None:
            assert_intact(outcome[1])
        return outcome

    def send(self, sent: Packet) -> Packet | None:
        """What gets out of a packet from inside."""
        return self._passed(Side.INSIDE, sent)

    def receive(self, sent: Packet) -> Packet | None:
        """What gets in of a packet from outside."""
        return self._passed(Side.OUTSIDE, sent)

    def answer(self, sender: Side, sent: Packet) -> Packet | None:
        """What comes back to the sender of a packet, which does not pass."""
        outcome = self.handle(sender, sent)
        if outcome is None:
            return None
        assert outcome[0] is sender
        return outcome[1]

    def open(self, host: Endpoint = HOST, remote: Endpoint = REMOTE) -> Endpoint:
        """Let a host send a SYN; where it comes from outside."""
        sent = self.send(segment(host, remote))
        assert sent is not None
        assert sent.destination == remote
        assert sent.source.address == OUTSIDE
        return sent.source

    def lets_in(self, remote: Endpoint, mapped: Endpoint, flags: int = SYN) -> bool:
        got = self.receive(segment(remote, mapped, flags))
        return got is not None

    def _passed(self, sender: Side, sent: Packet) -> Packet | None:
        outcome = self.handle(sender, sent)
        if outcome is None or outcome[0] is sender:
            return None
        return outcome[1]


def assert_quotes(report: Packet, source: Endpoint, destination: Endpoint) -> None:
    quote = report.quote()
    assert quote is not None
    assert (quote.source, quote.destination) == (source, destination)
