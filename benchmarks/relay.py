"""What it costs the broker to relay, beside the least that it could cost, and beside another relay.

The least is a bare loop on Trio that splices between two sockets, without a protocol, limits or an
end for anything. The other relay is Syncthing's ``strelaysrv``, where it is installed. Each carries
the same bytes in one direction between two clients that do as little as possible.

Limits: 1.15 times the bare loop's CPU time, and more bytes per second than ``strelaysrv``.
"""

import hashlib
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TypeAlias

from trio_p2p._identity.identity import Identity

from . import clients
from .idle_circuits import open_circuit
from .servers import ServerProcess, running_server
from .ssl_identities import load_identity
from .tables import Table

LIMIT = 1.15
ROUNDS = 11
MIB = 1 << 20
BYTES = 512 * MIB  # in a round
GIB = 1 << 30
PROGRAM = "strelaysrv"
BROKER, BARE = "broker", "bare splice loop"

Ends: TypeAlias = tuple[socket.socket, socket.socket]


def measure() -> Table:
    with ExitStack() as stack:
        relays: dict[str, tuple[ServerProcess, Ends]] = {}
        for name, open_relay in (
            (BROKER, _broker),
            (BARE, _bare_relay),
            (PROGRAM, _strelaysrv),
        ):
            if name != PROGRAM or shutil.which(PROGRAM):
                relays[name] = open_relay(stack)
        costs = {name: _Costs() for name in relays}
        for relay in relays.values():  # buffers grow in the first round
            _Costs().add(*relay)
        for _ in range(ROUNDS):
            for name, relay in relays.items():
                costs[name].add(*relay)
    ratio = _median_of_ratios(costs[BROKER].cpu, costs[BARE].cpu)
    exceeded = [f"{ratio:.2f} times the bare loop's CPU time"] if ratio > LIMIT else []
    notes = [
        f"Medians of {ROUNDS} interleaved rounds. Limit of the ratio to the bare loop: {LIMIT:g}."
    ]
    if PROGRAM not in costs:
        notes.append(f"{PROGRAM} is not installed (Debian: syncthing-relaysrv).")
    elif _median_of_ratios(costs[BROKER].speed, costs[PROGRAM].speed) <= 1:
        exceeded.append(f"not faster than {PROGRAM}")
    return Table(
        "Relaying in one direction",
        ("relay", "CPU s per GiB", "÷ bare loop", "GiB/s"),
        tuple(
            (
                name,
                f"{median(cost.cpu):.3f}",
                f"{_median_of_ratios(cost.cpu, costs[BARE].cpu):.2f}",
                f"{median(cost.speed):.2f}",
            )
            for name, cost in costs.items()
        ),
        tuple(notes),
        tuple(exceeded),
    )


def _median_of_ratios(ones: list[float], others: list[float]) -> float:
    return median(one / other for one, other in zip(ones, others, strict=True))


class _Costs:
    """What the rounds of one relay have cost."""

    def __init__(self) -> None:
        self.cpu: list[float] = []  # seconds per GiB
        self.speed: list[float] = []  # GiB per second

    def add(self, server: ServerProcess, ends: Ends) -> None:
        """Another round."""
        sender, receiver = ends
        cpu, began = server.cpu_seconds, time.perf_counter()
        sending = threading.Thread(target=_send, args=[sender])
        sending.start()
        left = BYTES
        while left:
            # Linux then discards what came: no copy.
            count = receiver.recv_into(_BUFFER, min(left, MIB), socket.MSG_TRUNC)
            if not count:
                raise ConnectionError("the relay closed the connection")
            left -= count
        seconds = time.perf_counter() - began
        sending.join()
        self.cpu.append((server.cpu_seconds - cpu) * GIB / BYTES)
        self.speed.append(BYTES / GIB / seconds)


_BUFFER = bytearray(MIB)


def _send(sender: socket.socket) -> None:
    piece = bytes(MIB)
    for _ in range(BYTES // MIB):
        sender.sendall(piece)


def _broker(stack: ExitStack) -> tuple[ServerProcess, Ends]:
    server = stack.enter_context(running_server("broker"))
    receiver = stack.enter_context(clients.connect_receiver(server.address))
    return server, _closing(stack, *open_circuit(server.address, receiver))


def _bare_relay(stack: ExitStack) -> tuple[ServerProcess, Ends]:
    server = stack.enter_context(running_server("bare relay"))
    return server, _closing(stack, *(socket.create_connection(server.address) for _ in range(2)))


def _closing(stack: ExitStack, sender: socket.socket, receiver: socket.socket) -> Ends:
    return stack.enter_context(sender), stack.enter_context(receiver)


# Syncthing's relay protocol, version 1: https://docs.syncthing.net/specs/relay-v1.html

_MAGIC = 0x9E79BC40
_JOIN_RELAY, _JOIN_SESSION, _RESPONSE, _CONNECT, _INVITATION = 2, 3, 4, 5, 6


def _strelaysrv(stack: ExitStack) -> tuple[ServerProcess, Ends]:
    server = stack.enter_context(_running_strelaysrv())
    sender, receiver = Identity.generate(), Identity.generate()
    joined = stack.enter_context(_connect_tls(server.address, receiver))
    _tell(joined, _JOIN_RELAY, b"")
    _wait_for(joined, _RESPONSE)
    asking = stack.enter_context(_connect_tls(server.address, sender))
    _tell(asking, _CONNECT, _opaque(hashlib.sha256(receiver.certificate).digest()))
    ends: list[socket.socket] = []
    for invited in (asking, joined):
        key = _key_of(_wait_for(invited, _INVITATION))
        end = stack.enter_context(socket.create_connection(server.address))
        _tell(end, _JOIN_SESSION, _opaque(key))
        ends.append(end)
    for end in ends:
        _wait_for(end, _RESPONSE)
    return server, (ends[0], ends[1])


@contextmanager
def _running_strelaysrv() -> Generator[ServerProcess]:
    with socket.create_server(("127.0.0.1", 0)) as probe:  # it cannot choose a port by itself
        port = probe.getsockname()[1]
    with (
        tempfile.TemporaryDirectory() as keys,
        subprocess.Popen(
            [
                PROGRAM,
                f"-keys={keys}",
                f"-listen=127.0.0.1:{port}",
                "-pools=",
                "-status-srv=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        server = ServerProcess(process.pid, port)
        try:
            _retry(lambda: socket.create_connection(server.address).close())
            yield server
        finally:
            process.terminate()


def _retry(action: Callable[[], None]) -> None:
    for _ in range(100):  # it makes itself a key first
        try:
            action()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{PROGRAM} does not answer")


def _connect_tls(address: tuple[str, int], identity: Identity) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["bep-relay"])
    load_identity(context, identity)
    return context.wrap_socket(socket.create_connection(address))


def _opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def _tell(end: socket.socket, kind: int, body: bytes) -> None:
    end.sendall(struct.pack(">III", _MAGIC, kind, len(body)) + body)


def _wait_for(end: socket.socket, kind: int) -> bytes:
    while True:
        magic, got, length = struct.unpack(">III", _receive_exactly(end, 12))
        body = _receive_exactly(end, length)
        if magic != _MAGIC or (got == _RESPONSE and body[:4] != bytes(4)):
            raise ConnectionError(f"{PROGRAM} refuses: {body!r}")
        if got == kind:
            return body


def _receive_exactly(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data))
        if not piece:
            raise ConnectionError(f"{PROGRAM} closed the connection")
        data += piece
    return data


def _key_of(invitation: bytes) -> bytes:
    """Its second field; the first one is who else is invited."""
    (length,) = struct.unpack_from(">I", invitation)
    start = 4 + length + -length % 4
    (length,) = struct.unpack_from(">I", invitation, start)
    return invitation[start + 4 : start + 4 + length]
