"""How fast streams are between two processes on the loopback interface, and what that costs.

One process sends, the other one receives; each way of sending has two of its own, which take turns
with those of the other ways. Where there are many streams, each has a task that sends and one that
receives. CPU time is user and system time, of which on the loopback interface
most is the kernel's copying. All ways that encrypt do so with the same keys and the same cipher.

Limits: see ``LIMITS``.
"""

import attrs

from trio_p2p._lab.namespaces import NamespacesUnavailableError

from .costs import CPU, RECEIVER, SECONDS, SENDER, Cost, compare, typical
from .places import open_loopback_without_pacing
from .stream_pairs import Places, measure_interleaved
from .stream_ways import (
    MANY,
    PATH,
    RAW,
    SESSION,
    SESSION_MANY,
    SESSION_SMALL,
    SSL,
    SSL_MANY,
    TCP,
    TCP_SMALL,
)
from .tables import Bars, Chart, Table

TITLE = "Throughput on the loopback interface, and CPU time, user and system"
COLUMNS = (
    "stream",
    "GiB/s",
    "ratio",
    "sender's CPU, s/GiB",
    "receiver's CPU, s/GiB",
    "ratio of both",
)
WAYS = TCP_SMALL, TCP, SSL, PATH, RAW, SESSION, SESSION_SMALL, SSL_MANY, SESSION_MANY
PIECE_BYTES = 2**18
ROUND_BYTES = 20 * MANY * PIECE_BYTES  # which can be divided by all that it is sent in
STARTS, ROUNDS = 7, 3


@attrs.frozen
class Limit:
    """What is asked of one way, compared with another one.

    Attributes:
        other: the other one.
        speed: how many times as fast it has to be, at least.
        cpu: how many times as much CPU time it may take, at most.
    """

    other: str
    speed: float
    cpu: float | None = None


LIMITS = {
    SESSION: Limit(SSL, speed=1.8, cpu=0.65),
    SESSION_MANY: Limit(SSL_MANY, speed=1.8),
    RAW: Limit(TCP, speed=0.95),
}
REFERENCES = {name: SSL_MANY if name in (SSL_MANY, SESSION_MANY) else SSL for name in WAYS}
"""What each way is compared with in the table."""


def measure() -> Table:
    try:
        place = open_loopback_without_pacing()
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    with place:
        places = Places(place, place, "127.0.0.1")
        costs = measure_interleaved(places, WAYS, ROUND_BYTES, ROUNDS, starts=STARTS)
    rows: list[tuple[str, ...]] = []
    exceeded: list[str] = []
    for name in WAYS:
        other = costs[REFERENCES[name]]
        speed = compare(other, costs[name], SECONDS)
        cpu = compare(costs[name], other, CPU)
        figures = (1 / typical(costs[name], SECONDS), speed)
        cpus = (typical(costs[name], SENDER), typical(costs[name], RECEIVER), cpu)
        rows.append((name, *(f"{it:.2f}" for it in figures + cpus)))
        exceeded += _exceeded(name, costs)
    notes = (
        f"Medians of {STARTS} starts of {ROUNDS} interleaved rounds of {ROUND_BYTES // 2**20} MiB.",
        f"Ratios: to {SSL}; for {MANY} streams to {SSL_MANY}.",
        f"Sent in pieces of {PIECE_BYTES // 2**10} KiB, if nothing else is said.",
        *(_describe(name, limit) for name, limit in LIMITS.items()),
    )
    return Table(
        TITLE,
        COLUMNS,
        tuple(rows),
        notes,
        tuple(exceeded),
        _chart(costs),
    )


def _exceeded(name: str, costs: dict[str, list[Cost]]) -> list[str]:
    limit = LIMITS.get(name)
    if limit is None:
        return []
    exceeded = []
    speed = compare(costs[limit.other], costs[name], SECONDS)
    if speed < limit.speed:
        exceeded.append(f"{name}: {speed:.2f} times as fast as {limit.other} only")
    cpu = compare(costs[name], costs[limit.other], CPU)
    if limit.cpu is not None and cpu > limit.cpu:
        exceeded.append(f"{name}: {cpu:.2f} times the CPU time of {limit.other}")
    return exceeded


def _describe(name: str, limit: Limit) -> str:
    cpu = "" if limit.cpu is None else f", and {limit.cpu:g} times its CPU time at most"
    return f"Limits for {name}: at least {limit.speed:g} times as fast as {limit.other}{cpu}."


def _chart(costs: dict[str, list[Cost]]) -> Chart:
    """CPU time; nothing that sends over TCP takes less than bare TCP does."""
    bars = (
        Bars(
            label,
            tuple(typical(costs[name], what) for name in costs),
            (typical(costs[TCP], what),) * len(costs),
        )
        for label, what in (("sender", SENDER), ("receiver", RECEIVER))
    )
    return Chart(tuple(costs), "stream", "CPU time, s/GiB", tuple(bars))
