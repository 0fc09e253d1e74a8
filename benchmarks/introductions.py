"""The broker's CPU time for one fast introduction, beside a bare Trio server's.

Measured for senders that connect anew for each introduction, and for those that keep their
connection; one at a time, so that nothing is shared between introductions. The bare server accepts,
receives and sends as often and as much, without a protocol. All processes share one core: to wake
one on another core costs much or little, as it happens.

Limit: 1.7 times as much as the bare server, for both.
"""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import TypeAlias

from . import clients, frames
from .servers import ServerProcess, running_server, staying_on_one_core
from .tables import Table

LIMIT = 1.7
ROUNDS = 50  # short ones: whatever else the machine does then hits both servers alike
NEW, KEPT = 50, 150  # introductions in a round

Load: TypeAlias = Callable[[], int]  # gives the number of introductions


def measure() -> Table:
    rows: list[tuple[str, ...]] = []
    exceeded: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(staying_on_one_core())
        broker = stack.enter_context(running_server("broker"))
        bare = stack.enter_context(running_server("bare introducer"))
        loads, bare_loads = _loads(stack, broker), _loads(stack, bare)
        for kind, load, bare_load in zip(("new", "kept"), loads, bare_loads, strict=True):
            costs = [
                (_cpu_microseconds(broker, load), _cpu_microseconds(bare, bare_load))
                for _ in range(ROUNDS)
            ]
            cost, bare_cost = map(median, zip(*costs, strict=True))
            ratio = median(one / other for one, other in costs)
            rows.append((kind, f"{cost:.0f}", f"{bare_cost:.0f}", f"{ratio:.2f}"))
            if ratio > LIMIT:
                exceeded.append(f"{ratio:.2f} times the bare server on {kind} connections")
    return Table(
        "Broker CPU per fast introduction, user and system",
        ("sender's connection", "broker, µs", "bare Trio, µs", "ratio"),
        tuple(rows),
        (f"Medians of {ROUNDS} interleaved rounds. Limit of the ratio: {LIMIT:g}.",),
        tuple(exceeded),
    )


def _cpu_microseconds(server: ServerProcess, load: Load) -> float:
    """CPU time per introduction."""
    before = server.cpu_seconds
    count = load()
    return 1e6 * (server.cpu_seconds - before) / count


def _loads(stack: ExitStack, server: ServerProcess) -> tuple[Load, Load]:
    """What to let senders do: connect anew, and use a kept connection."""
    receiver = stack.enter_context(clients.connect_receiver(server.address))
    kept = stack.enter_context(clients.connect(server.address, frames.FIRST_REQUEST))
    _receive_answers(kept, receiver)
    return partial(_introduce_new, server, receiver), partial(_introduce_kept, kept, receiver)


def _introduce_new(server: ServerProcess, receiver: socket.socket) -> int:
    for _ in range(NEW):
        sender = clients.connect(server.address, frames.FIRST_REQUEST)
        _receive_answers(sender, receiver)
        clients.finish(sender)
    return NEW


def _introduce_kept(sender: socket.socket, receiver: socket.socket) -> int:
    for _ in range(KEPT):
        sender.sendall(frames.REQUEST)
        _receive_answers(sender, receiver)
    return KEPT


def _receive_answers(*clients_told: socket.socket) -> None:
    for client in clients_told:
        clients.receive(client)
