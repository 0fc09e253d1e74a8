"""A router on loopback that speaks PCP and NAT-PMP, well or badly, and no UPnP."""

import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

import attrs
import pytest
import trio

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._portmap import port_mapping, routers, timers as mapping_timers
from trio_p2p._portmap.attempts import MappingProtocol

HOST = "127.0.0.1"
EXTERNAL = IPv4Address("11.22.33.44")
PORT = 4000  # the internal one; nobody listens there, and nobody connects
UDP_PROTOCOLS = (MappingProtocol.PCP, MappingProtocol.NAT_PMP)

PCP_ADDRESS = struct.Struct("!10xH4s")

Answer = Callable[[bytes], Iterable[bytes]]


@attrs.define(eq=False)
class FakeRouter:
    """Maps ports, in its own memory only.

    Attributes:
        external: its external address.
        epoch: what it says for how many seconds it has been up.
        max_lifetime: the longest lifetime that it grants.
        speaks: in which protocols it answers.
        answer: replaces the way in which it answers, if set.
        losses: how many requests get lost.
        needs_suggestion: whether it refuses to choose the external port.
        sends_from: another socket that it answers from.
        requests: what it was sent, but for what got lost.
        mappings: nonce (empty in NAT-PMP) and external port, by internal port.
    """

    sock: trio.socket.SocketType
    announcement_port: int
    external: IPv4Address = EXTERNAL
    epoch: int = 1000
    max_lifetime: int = 1_000_000
    speaks: tuple[MappingProtocol, ...] = UDP_PROTOCOLS
    answer: Answer | None = None
    losses: int = 0
    needs_suggestion: bool = False
    sends_from: trio.socket.SocketType | None = None
    requests: list[bytes] = attrs.Factory(list)
    mappings: dict[int, tuple[bytes, int]] = attrs.Factory(dict)

    async def run(self) -> None:
        with self.sock:
            while True:
                request, sender = await self.sock.recvfrom(2000)
                if self.losses:
                    self.losses -= 1
                    continue
                self.requests.append(request)
                for response in (self.answer or self.respond)(request):
                    await (self.sends_from or self.sock).sendto(response, sender)

    def respond(self, request: bytes) -> Iterable[bytes]:
        if request[0] == 2 and MappingProtocol.PCP in self.speaks:
            yield self._respond_in_pcp(request)
        elif MappingProtocol.NAT_PMP in self.speaks:
            yield self._respond_in_nat_pmp(request)
        else:  # what a PCP server says to NAT-PMP
            yield struct.pack("!BBBBII12x", 2, 0x80, 0, 1, 0, self.epoch)

    def _respond_in_pcp(self, request: bytes) -> bytes:
        _, opcode, wanted, client = struct.unpack_from("!BBxxI16s", request)
        nonce, internal, external = struct.unpack_from("!12s4xHH", request, 24)
        assert PCP_ADDRESS.unpack(client) == (0xFFFF, IPv4Address(HOST).packed)
        lifetime, result = min(wanted, self.max_lifetime), 0
        known_nonce, known_external = self.mappings.get(internal, (nonce, external or internal))
        if known_nonce != nonce or (self.needs_suggestion and lifetime and not external):
            result = 2
        elif lifetime:
            self.mappings[internal] = nonce, known_external
        else:
            self.mappings.pop(internal, None)
        header = struct.pack("!BBxBII12x", 2, opcode | 0x80, result, lifetime, self.epoch)
        body = struct.pack("!12sB3xHH", nonce, 6, internal, known_external)
        return header + body + PCP_ADDRESS.pack(0xFFFF, self.external.packed)

    def _respond_in_nat_pmp(self, request: bytes) -> bytes:
        version, opcode = request[:2]
        if version:
            return struct.pack("!BBHI", 0, opcode | 0x80, 1, self.epoch)
        if opcode == 0:
            return struct.pack("!BBHI4s", 0, 0x80, 0, self.epoch, self.external.packed)
        internal, external, wanted = struct.unpack_from("!HHI", request, 4)
        lifetime = min(wanted, self.max_lifetime)
        if self.needs_suggestion and lifetime and not external:
            return struct.pack("!BBHIHHI", 0, 0x82, 4, self.epoch, internal, 0, 0)
        if lifetime:
            external = self.mappings.setdefault(internal, (b"", external or internal))[1]
        else:
            self.mappings.pop(internal, None)
            external = 0
        return struct.pack("!BBHIHHI", 0, 0x82, 0, self.epoch, internal, external, lifetime)

    def restart(self) -> None:
        """Lose all mappings."""
        self.mappings.clear()
        self.epoch = 0

    async def announce(self, message: bytes | None = None) -> None:
        """Announce a restart in PCP, or something else, to the hosts of its network."""
        if message is None:
            message = struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, self.epoch)
        await self.sock.sendto(message, (HOST, self.announcement_port))


@pytest.fixture
async def router(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> FakeRouter:
    """A router that answers, and is the default gateway."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await sock.bind((HOST, 0))
    made = FakeRouter(sock, unused_port())
    nursery.start_soon(made.run)
    set_gateway(monkeypatch, endpoint_of(sock.getsockname()))
    monkeypatch.setattr(port_mapping, "ANNOUNCEMENT_PORT", made.announcement_port)
    return made


def no_answer(request: bytes) -> Iterable[bytes]:
    """How a router answers that does not."""
    return []


def set_gateway(monkeypatch: pytest.MonkeyPatch, server: Endpoint | None) -> None:
    """Change the default gateway, and where it serves PCP and NAT-PMP."""
    address = None if server is None else server.address
    monkeypatch.setattr(routers, "find_default_gateway", lambda: address)
    if server is not None:
        monkeypatch.setattr(routers, "SERVER_PORT", server.port)


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers that make a test short."""
    monkeypatch.setattr(mapping_timers, "PCP_INITIAL_TIME", 0.1)
    monkeypatch.setattr(mapping_timers, "PCP_MAX_DURATION", 0.2)
    monkeypatch.setattr(mapping_timers, "NAT_PMP_INITIAL_TIME", 0.05)
    monkeypatch.setattr(mapping_timers, "NAT_PMP_MAX_DURATION", 0.2)
    monkeypatch.setattr(mapping_timers, "MIN_RENEWAL_PAUSE", 0.1)
    monkeypatch.setattr(mapping_timers, "MAX_RECOVERY_DELAY", 0.1)
    monkeypatch.setattr(port_mapping, "DELETION_TIME", 0.2)
