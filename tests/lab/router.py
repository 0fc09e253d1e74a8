"""The process that is the internet of a `UserspaceNetwork`: it passes packets between TUN devices.

It stands alone, on the standard library, and in a process of its own, so that it starts fast and
the programs under test do not take its time. It ends when its control socket does.
"""

import ctypes
import heapq
import json
import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

MAX_PACKET = 65_536
MAX_CONTROL_MESSAGE = 4_096

# Where things are in the IPv4 header (RFC 791)
_TIME_TO_LIVE = 8
_PROTOCOL = 9
_CHECKSUM = 10
_SOURCE = slice(12, 16)
_DESTINATION = slice(16, 20)
_ICMP = 1
_TCP = 6
_UDP = 17
# Types and codes (RFC 792)
_TIME_EXCEEDED = (11, 0)
_NETWORK_UNREACHABLE = (3, 0)
_MAX_QUOTE = 548  # RFC 1812, 4.3.2.3: the whole error fits into 576 bytes
_PR_SET_TIMERSLACK = 29
_WAKE_TIME = 0.0005  # seconds before a packet is due from which we look at the clock all the time


class Router:
    """One hop between leaves: each a TUN device with the addresses behind it."""

    def __init__(self, address: IPv4Address, control: socket.socket) -> None:
        self._address = address.packed
        self._control = control
        self._leaves: list[int] = []  # the descriptors of their TUN devices
        self._routes: dict[bytes, int] = {}
        self._one_way_delays: dict[tuple[int, int], float] = {}
        self._delayed: list[tuple[float, int, int, bytes]] = []
        self._packet_count = 0
        self._now = 0.0  # when the packets came that are being routed

    def run(self) -> None:
        """Pass packets on until the control socket is closed."""
        while True:
            sources = [self._control.fileno(), *self._leaves]
            readable, _, _ = select.select(sources, [], [], self._send_due())
            self._now = time.monotonic()
            for source in readable:
                if source != self._control.fileno():
                    self._route(source, bytearray(os.read(source, MAX_PACKET)))
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_CONTROL_MESSAGE, 1)
        if not message:
            return False
        command: dict[str, Any] = json.loads(message)
        if "attach" in command:
            [leaf] = descriptors
            self._leaves.append(leaf)
            self._routes |= {IPv4Address(address).packed: leaf for address in command["attach"]}
        else:
            numbers: list[int] = command["between"]
            one, other = (self._leaves[number] for number in numbers)
            delay: float = command["one_way_delay"]
            self._one_way_delays[one, other] = self._one_way_delays[other, one] = delay
        self._control.send(b"done")
        return True

    def _route(self, leaf: int, packet: bytearray) -> None:
        if packet[0] >> 4 != 4:
            return
        target = self._routes.get(bytes(packet[_DESTINATION]))
        if target is None:
            self._report(leaf, packet, _NETWORK_UNREACHABLE, 0.0)
            return
        delay = self._one_way_delays.get((leaf, target), 0.0)
        if packet[_TIME_TO_LIVE] <= 1:
            # We sit in the middle: half of the way here, and half of it back.
            self._report(leaf, packet, _TIME_EXCEEDED, delay)
            return
        packet[_TIME_TO_LIVE] -= 1
        packet[_CHECKSUM : _CHECKSUM + 2] = b"\0\0"
        _write_checksum(packet, _CHECKSUM, end=(packet[0] & 0x0F) * 4)
        self._send_later(target, packet, delay)

    def _report(self, leaf: int, packet: bytearray, error: tuple[int, int], delay: float) -> None:
        # Never about an error or a multicast, and to nobody whose address we do not lead to.
        is_answerable = packet[_PROTOCOL] in (_TCP, _UDP) and packet[_DESTINATION][0] < 224
        if not is_answerable or bytes(packet[_SOURCE]) not in self._routes:
            return
        message = bytearray(struct.pack("!BBHI", *error, 0, 0) + packet[:_MAX_QUOTE])
        _write_checksum(message, 2, end=len(message))
        size = 20 + len(message)
        header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, _ICMP, 0))
        header += self._address + packet[_SOURCE]
        _write_checksum(header, _CHECKSUM, end=len(header))
        self._send_later(leaf, header + message, delay)

    def _send_later(self, leaf: int, packet: bytearray, delay: float) -> None:
        # The count keeps packets of the same instant in order.
        self._packet_count += 1
        due = self._now + delay
        heapq.heappush(self._delayed, (due, self._packet_count, leaf, bytes(packet)))

    def _send_due(self) -> float | None:
        """Send what is due, and say for how long nothing else will be."""
        while self._delayed:
            wait = self._delayed[0][0] - time.monotonic()
            if wait > 0:
                return max(0.0, wait - _WAKE_TIME)
            _, _, leaf, packet = heapq.heappop(self._delayed)
            with suppress(OSError):  # a link that is down loses packets
                os.write(leaf, packet)
        return None


def _write_checksum(data: bytearray, offset: int, *, end: int) -> None:
    """Fill in the internet checksum (RFC 1071) of what ends at `end`; its own place is zero yet."""
    padded = bytes(data[:end]) + b"\0" * (end % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", data, offset, total ^ 0xFFFF)


def main() -> None:
    """Run a router with an address, controlled through an inherited socket."""
    # Timers are late by 50 microseconds otherwise.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    Router(IPv4Address(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))).run()


if __name__ == "__main__":
    main()
