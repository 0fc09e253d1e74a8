"""The broker's memory for each idle circuit, that is, for two peers that it relays.

2,000 senders ask for the relay and 2,000 connections of receivers join them; one byte goes through
each circuit in each direction, and then all fall silent.

Limit: 9 KiB for each circuit, which is less than a bare Trio server has for two idle connections.
"""

import socket
from contextlib import ExitStack

from trio_p2p._wire.messages import Relayed, RelayRequest

from . import clients, frames
from .servers import ServerProcess, running_server
from .tables import Table

LIMIT_KIB = 9.0
COUNT = 2_000
WARM_UP = 50
DESCRIPTORS = 2 * (COUNT + WARM_UP) + 500


def measure() -> Table:
    title = f"Resident memory per idle circuit, {COUNT:,} of them"
    columns = ("server", "KiB each")
    if not clients.allow_descriptors(DESCRIPTORS):
        note = f"Not measured: needs {DESCRIPTORS:,} open files (ulimit -Hn)."
        return Table(title, columns, (), (note,))
    kib = _bytes_each() / 1024
    return Table(
        title,
        columns,
        (("broker", f"{kib:.2f}"),),
        (f"Limit: {LIMIT_KIB:g} KiB.",),
        (f"{kib:.2f} KiB for each circuit",) if kib > LIMIT_KIB else (),
    )


def _bytes_each() -> float:
    with ExitStack() as stack, running_server("broker") as server:
        receiver = stack.enter_context(clients.connect_receiver(server.address))
        for _ in range(WARM_UP):
            _open_circuit(stack, server, receiver)
        before = server.resident_bytes
        for _ in range(COUNT):
            _open_circuit(stack, server, receiver)
        return (server.resident_bytes - before) / COUNT


def _open_circuit(stack: ExitStack, server: ServerProcess, receiver: socket.socket) -> None:
    sender, joined = (stack.enter_context(end) for end in open_circuit(server.address, receiver))
    for talking, listening in ((sender, joined), (joined, sender)):
        talking.sendall(b"!")
        clients.receive(listening)


def open_circuit(
    address: tuple[str, int], receiver: socket.socket
) -> tuple[socket.socket, socket.socket]:
    """A sender and a receiver that a broker relays.

    Args:
        address: the broker's.
        receiver: the connection that the receiver has registered on.
    """
    sender = clients.connect(address, frames.RELAY_REQUEST)
    [request] = frames.messages_in(clients.receive(receiver))
    assert isinstance(request, RelayRequest)
    joined = clients.connect(address, frames.joining(request.introduction))
    for end in (sender, joined):
        messages = frames.messages_in(clients.receive(end))
        if not isinstance(messages[-1], Relayed):
            messages = frames.messages_in(clients.receive(end))
        assert isinstance(messages[-1], Relayed)
    return sender, joined
