"""What a broker of many idle receivers needs: memory, the CPU of their keepalives, and patience.

Receivers register with one broker until 15,000 are there. At each count all of them send a
keepalive, as they do every 30 seconds, and a sender with a kept connection is introduced often.
The bare server is the same as for the benchmark of idle receivers.

Limits at the highest count: one and a half times the bare server's memory; keepalives take a tenth
of a core; an introduction takes one and a half times as long as among ten receivers.
"""

import socket
import time
from contextlib import ExitStack
from statistics import median

import attrs

from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import KeepAlive

from . import clients, frames
from .idle_receivers import WARM_UP, bytes_each
from .servers import ServerProcess, running_server
from .tables import Curve, Curves, Table

COUNTS = 10, 1_000, 5_000, 10_000, 15_000
INTRODUCTIONS = 300
KEEPALIVE_TIME = 30.0
MEMORY_LIMIT, CORE_LIMIT, LATENCY_LIMIT = 1.5, 0.1, 1.5
DESCRIPTORS = COUNTS[-1] + 500


@attrs.frozen
class Found:
    """What was measured at one count.

    Attributes:
        kibibytes: resident memory for each receiver beyond the first few; not a number for those.
        core: the share of a core that keepalives take.
        microseconds: the median time of an introduction, as its sender sees it.
    """

    kibibytes: float
    core: float
    microseconds: float


def measure() -> Table:
    title = "A broker of many idle receivers"
    columns = ("receivers", "KiB each", "keepalives, % of a core", "introduction, µs")
    if not clients.allow_descriptors(DESCRIPTORS):
        note = f"Not measured: needs {DESCRIPTORS:,} open files (ulimit -Hn)."
        return Table(title, columns, (), (note,))
    bare = bytes_each("bare registrar", COUNTS[-1]) / 1024
    found = _grow()
    rows = [
        (f"{count:,}", f"{it.kibibytes:.2f}", f"{100 * it.core:.2f}", f"{it.microseconds:.0f}")
        for count, it in zip(COUNTS, found, strict=True)
    ]
    rows.append((f"{COUNTS[-1]:,} bare connections", f"{bare:.2f}", "", ""))
    last = found[-1]
    memory, slower = last.kibibytes / bare, last.microseconds / found[0].microseconds
    exceeded = [
        sentence
        for sentence, is_exceeded in (
            (f"{memory:.2f} times the bare server's memory", memory > MEMORY_LIMIT),
            (f"keepalives take {100 * last.core:.0f} % of a core", last.core > CORE_LIMIT),
            (f"an introduction takes {slower:.2f} times as long", slower > LATENCY_LIMIT),
        )
        if is_exceeded
    ]
    return Table(
        title,
        columns,
        tuple(rows),
        (
            f"Memory: {memory:.2f} times the bare server's; the limit is {MEMORY_LIMIT:g}.",
            f"Introductions: {slower:.2f} times as long as among {COUNTS[0]}; {LATENCY_LIMIT:g}.",
            f"Keepalives: at most {100 * CORE_LIMIT:g} % of a core.",
        ),
        tuple(exceeded),
        Curves(
            COUNTS,
            "receivers",
            (
                Curve("keepalives, % of a core", tuple(100 * it.core for it in found)),
                Curve("introduction, 100 µs", tuple(it.microseconds / 100 for it in found)),
                Curve("memory, KiB each", tuple(it.kibibytes for it in found)),
            ),
        ),
    )


def _grow() -> list[Found]:
    with ExitStack() as stack, running_server("broker") as server:
        receivers = [
            stack.enter_context(clients.connect_receiver(server.address, number))
            for number in range(COUNTS[0])
        ]
        sender = stack.enter_context(clients.connect(server.address, frames.FIRST_REQUEST))
        for client in (sender, receivers[0]):
            clients.receive(client)
        before, first = server.resident_bytes, 0
        found: list[Found] = []
        for count in COUNTS:
            while len(receivers) < count:
                client = clients.connect_receiver(server.address, len(receivers))
                receivers.append(stack.enter_context(client))
                if len(receivers) == WARM_UP:
                    before, first = server.resident_bytes, WARM_UP
            grown = server.resident_bytes - before
            each = grown / (count - first) / 1024 if count > WARM_UP else float("nan")
            core = _core_for_keepalives(server, receivers)
            found.append(Found(each, core, _introduction_time(sender, receivers[0])))
        return found


def _core_for_keepalives(server: ServerProcess, receivers: list[socket.socket]) -> float:
    """The CPU time for one keepalive of each receiver, as a share of the time between two."""
    before, data = server.cpu_seconds, encode(KeepAlive())
    for receiver in receivers:
        receiver.sendall(data)
    used = -1.0
    while used != (used := server.cpu_seconds - before):  # until it has read them all
        time.sleep(0.1)
    return used / KEEPALIVE_TIME


def _introduction_time(sender: socket.socket, receiver: socket.socket) -> float:
    times: list[float] = []
    for _ in range(INTRODUCTIONS):
        began = time.perf_counter()
        sender.sendall(frames.REQUEST)
        clients.receive(sender)
        times.append(1e6 * (time.perf_counter() - began))
        clients.receive(receiver)
    return median(times)
