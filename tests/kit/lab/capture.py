"""Captures of what passes through the interfaces of a host, the loopback one included."""

import ipaddress
import select
import socket
import struct
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import attrs

from trio_p2p._addresses import Endpoint
from trio_p2p._lab.networks import Host

# linux/if_ether.h, linux/if_packet.h
_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_ETH_P_IPV6 = 0x86DD
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_STATISTICS = 6

_HEADERS_BYTES = 128
_PATIENCE = 0.05  # seconds to wait for packets when there may be none


@attrs.frozen
class Captured:
    """A packet.

    Attributes:
        is_outgoing: whether the host has sent it.
        protocol: the number of what it carries: ``socket.IPPROTO_TCP``, say.
        destination: where it goes; its port is 0 if the protocol is neither TCP nor UDP.
    """

    is_outgoing: bool
    protocol: int
    destination: Endpoint


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
        """The same, until something is done: the kernel keeps some hundred packets only."""
        packets: list[Captured] = []
        while not done.done():
            select.select([self._socket], [], [], _PATIENCE)
            packets += self.read()
        return packets + self.read()

    def _received(self) -> Iterator[Captured]:
        while True:
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(_HEADERS_BYTES)
            except BlockingIOError:
                return
            if protocol == _ETH_P_IP:
                carried, destination, header = packet[9], packet[16:20], (packet[0] & 0xF) * 4
            elif protocol == _ETH_P_IPV6:
                carried, destination, header = packet[6], packet[24:40], 40
            else:
                continue
            port = 0
            if carried in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                [port] = struct.unpack_from("!H", packet, header + 2)
            endpoint = Endpoint(ipaddress.ip_address(destination), port)
            yield Captured(kind == _PACKET_OUTGOING, carried, endpoint)


@contextmanager
def capturing(host: Host) -> Generator[Capture]:
    """Capture what a host sends and receives."""
    everything = socket.htons(_ETH_P_ALL)
    with host.host.call(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, everything) as sock:
        sock.setblocking(False)
        yield Capture(sock)
