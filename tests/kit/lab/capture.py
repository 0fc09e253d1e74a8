"""Captures of what passes through the interfaces of a host, the loopback one included."""

import ipaddress
import select
import socket
import struct
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from trio_p2p._addresses import Endpoint
from trio_p2p._lab.namespaces import Namespace
from trio_p2p._lab.networks import Host
from trio_p2p.testing._internet.packets import ACK, FIN, RST, SYN

# linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h
_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_ETH_P_IPV6 = 0x86DD
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_SO_RCVBUFFORCE = 33

_HEADERS_BYTES = 128
_BUFFER_BYTES = 2**24
_PATIENCE = 60.0  # seconds until what does not come fails its test
_READ_PERIOD = 0.05  # seconds to wait for packets when there may be none
# TCP's ports, sequence number, acknowledgement, length of the header, flags (RFC 9293, 3.1)
_TCP = struct.Struct("!HHIIBB")


@attrs.frozen
class Segment:
    """What a packet says in its TCP header.

    Attributes:
        sequence: the number of its first byte.
        acknowledged: the number of the first byte that its sender had not received; None without.
        flags: its flags.
        length: how many bytes of data it carries.
    """

    sequence: int
    acknowledged: int | None
    flags: int
    length: int

    @property
    def is_syn(self) -> bool:
        """Whether it opens a connection, and answers no other segment."""
        return self.flags & (SYN | ACK) == SYN

    @property
    def end(self) -> int:
        """The number of the byte after its last one; SYN and FIN count as one each."""
        controls = bool(self.flags & SYN) + bool(self.flags & FIN)
        return (self.sequence + self.length + controls) % 2**32

    @property
    def says_something(self) -> bool:
        """Whether a program can notice it: it is more than an acknowledgement."""
        return bool(self.length or self.flags & (SYN | FIN | RST))


@attrs.frozen
class Captured:
    """A packet.

    Attributes:
        is_outgoing: whether the host has sent it.
        protocol: the number of what it carries: ``socket.IPPROTO_TCP``, say.
        source: where it comes from; its port is 0 if the protocol is neither TCP nor UDP.
        destination: where it goes to, the same way.
        segment: its TCP header; None if the protocol is another one.
    """

    is_outgoing: bool
    protocol: int
    source: Endpoint
    destination: Endpoint
    segment: Segment | None = None

    @property
    def flow(self) -> tuple[Endpoint, Endpoint]:
        """The host's own endpoint and the remote one, of packets in both directions."""
        if self.is_outgoing:
            return self.source, self.destination
        return self.destination, self.source


class Capture:
    """All packets of a host, since this was opened."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def read(self) -> list[Captured]:
        """The packets that have not been read yet; none of them is missing."""
        packets = list(self._received())
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, dropped = struct.unpack("II", statistics)
        assert not dropped
        return packets

    def read_until(self, done: Future[Any]) -> list[Captured]:
        """The same, until something is done: the kernel may keep some hundred packets only."""
        packets: list[Captured] = []
        while not done.done():
            select.select([self._socket], [], [], _READ_PERIOD)
            packets += self.read()
        return packets + self.read()

    def wait_for_syn(self) -> None:
        """Wait until a SYN has come or gone."""
        while not any(packet.segment and packet.segment.is_syn for packet in self.read()):
            readable, _, _ = select.select([self._socket], [], [], _PATIENCE)
            assert readable

    def _received(self) -> Iterator[Captured]:
        while True:
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(_HEADERS_BYTES)
            except BlockingIOError:
                return
            if protocol in (_ETH_P_IP, _ETH_P_IPV6):
                yield _parse(packet, protocol, is_outgoing=kind == _PACKET_OUTGOING)


def _parse(packet: bytes, protocol: int, *, is_outgoing: bool) -> Captured:
    if protocol == _ETH_P_IP:
        header = (packet[0] & 0xF) * 4
        [length] = struct.unpack_from("!H", packet, 2)
        carried, source, destination = packet[9], packet[12:16], packet[16:20]
    else:
        header = 40
        [length] = struct.unpack_from("!H", packet, 4)
        length += header
        carried, source, destination = packet[6], packet[8:24], packet[24:40]
    ports, segment = (0, 0), None
    if carried in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        ports = struct.unpack_from("!HH", packet, header)
    if carried == socket.IPPROTO_TCP:
        _, _, sequence, acknowledged, offset, flags = _TCP.unpack_from(packet, header)
        segment = Segment(
            sequence,
            acknowledged if flags & ACK else None,
            flags,
            length - header - (offset >> 4) * 4,
        )
    return Captured(
        is_outgoing,
        carried,
        Endpoint(ipaddress.ip_address(source), ports[0]),
        Endpoint(ipaddress.ip_address(destination), ports[1]),
        segment,
    )


@contextmanager
def capturing(where: Host | Namespace) -> Generator[Capture]:
    """Capture what a host, or a router, sends and receives."""
    namespace = where.host if isinstance(where, Host) else where
    everything = socket.htons(_ETH_P_ALL)
    with namespace.call(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, everything) as sock:
        sock.setblocking(False)
        with suppress(PermissionError):  # only the machine's root may ask for that much
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        yield Capture(sock)
