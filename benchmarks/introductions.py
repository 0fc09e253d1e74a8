"""The broker's CPU time for one fast introduction, beside a bare Trio server's.

Measured for senders that connect anew for each introduction, and for those that keep their
connection. The bare server accepts, receives and sends as often and as much, without a protocol.

Limit: twice as much as the bare server, for both.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import TypeAlias

from . import clients, frames
from .servers import ServerProcess, running_server
from .tables import Table

LIMIT = 2.0
AT_ONCE = 16  # introductions under way
ROUNDS = 15
NEW_BATCHES, KEPT_BATCHES = 20, 60  # in a round

Load: TypeAlias = Callable[[], int]


def measure() -> Table:
    with ExitStack() as stack:
        broker = stack.enter_context(running_server("broker"))
        bare = stack.enter_context(running_server("bare introducer"))
        loads = [_loads(stack, server) for server in (broker, bare)]
        rows, exceeded = [], []
        for kind, load, bare_load in zip(("new", "kept"), *loads, strict=True):
            costs, bare_costs = [], []
            for _ in range(ROUNDS):
                costs.append(_cpu_seconds(broker, load))
                bare_costs.append(_cpu_seconds(bare, bare_load))
            cost, bare_cost = median(costs), median(bare_costs)
            ratio = cost / bare_cost
            rows.append((kind, f"{cost * 1e6:.0f}", f"{bare_cost * 1e6:.0f}", f"{ratio:.2f}"))
            if ratio > LIMIT:
                exceeded.append(f"{ratio:.2f} times the bare server on {kind} connections")
    return Table(
        "Broker CPU per fast introduction, user and system",
        ("sender's connection", "broker, µs", "bare Trio, µs", "ratio"),
        tuple(rows),
        (
            f"Medians of {ROUNDS} interleaved rounds, {AT_ONCE} introductions at a time. "
            f"Limit of the ratio: {LIMIT:g}.",
        ),
        tuple(exceeded),
    )


def _cpu_seconds(server: ServerProcess, load: Load) -> float:
    """CPU time per introduction."""
    before = server.cpu_seconds
    count = load()
    return (server.cpu_seconds - before) / count


def _loads(stack: ExitStack, server: ServerProcess) -> tuple[Load, Load]:
    """What to let senders do: connect anew, and use kept connections."""
    receiver = stack.enter_context(clients.connect_receiver(server.address))
    kept = [
        stack.enter_context(clients.connect(server.address, frames.FIRST_REQUEST))
        for _ in range(AT_ONCE)
    ]
    _receive_all(kept, receiver)
    return partial(_introduce_new, server, receiver), partial(_introduce_kept, kept, receiver)


def _introduce_new(server: ServerProcess, receiver: socket.socket) -> int:
    for _ in range(NEW_BATCHES):
        senders = [clients.connect(server.address, frames.FIRST_REQUEST) for _ in range(AT_ONCE)]
        _receive_all(senders, receiver)
        for sender in senders:
            clients.finish(sender)
    return NEW_BATCHES * AT_ONCE


def _introduce_kept(senders: Sequence[socket.socket], receiver: socket.socket) -> int:
    for _ in range(KEPT_BATCHES):
        for sender in senders:
            sender.sendall(frames.REQUEST)
        _receive_all(senders, receiver)
    return KEPT_BATCHES * AT_ONCE


def _receive_all(senders: Sequence[socket.socket], receiver: socket.socket) -> None:
    for sender in senders:
        clients.receive(sender)
    # It was told before the senders were, so that all is here.
    clients.receive(receiver)
