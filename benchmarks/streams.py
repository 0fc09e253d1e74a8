"""How fast streams are between two processes on the loopback interface, and what that costs.

One process sends, the other one receives; each way of sending has two of its own, which take turns
with those of the other ways. CPU time is user and system time, of which on the loopback interface
most is the kernel's copying. All ways that encrypt do so with the same keys and the same cipher.

Limits: see ``LIMITS``.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from operator import attrgetter
from statistics import median
from typing import TypeAlias

import attrs

from trio_p2p._lab.namespaces import Namespace, NamespacesUnavailableError

from . import stream_ways
from .places import open_loopback_without_pacing
from .servers import ServerProcess
from .stream_ways import RAW, ROUND_BYTES, SESSION, SSL, TCP, WAYS
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
ROUNDS = 15
GIB = 2**30


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


LIMITS = {SESSION: Limit(SSL, speed=1.8, cpu=0.6), RAW: Limit(TCP, speed=0.95)}


@attrs.frozen
class Cost:
    """What one round took, per GiB: seconds, and the CPU seconds of the two processes."""

    seconds: float
    sender: float
    receiver: float

    @property
    def cpu(self) -> float:
        return self.sender + self.receiver


Figure: TypeAlias = Callable[[Cost], float]
SECONDS, CPU = attrgetter("seconds"), attrgetter("cpu")
SENDER, RECEIVER = attrgetter("sender"), attrgetter("receiver")


class Pair:
    """The two processes of one way."""

    def __init__(self, stack: ExitStack, place: Namespace, name: str) -> None:
        self._receiving = _start(stack, place, "receiver", name)
        port = int(_read_line(self._receiving))
        self._sending = _start(stack, place, "sender", name, str(port))
        self._receiver = ServerProcess(self._receiving.pid, port)
        self._sender = ServerProcess(self._sending.pid, port)

    def run(self) -> Cost:
        """One round."""
        before = time.perf_counter(), self._sender.cpu_seconds, self._receiver.cpu_seconds
        assert self._sending.stdin is not None
        print(file=self._sending.stdin, flush=True)
        _read_line(self._receiving)
        after = time.perf_counter(), self._sender.cpu_seconds, self._receiver.cpu_seconds
        return Cost(
            *((end - start) * GIB / ROUND_BYTES for start, end in zip(before, after, strict=True))
        )


def measure() -> Table:
    try:
        place = open_loopback_without_pacing()
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    with ExitStack() as stack:
        stack.enter_context(place)
        pairs = {name: Pair(stack, place, name) for name in WAYS}
        for pair in pairs.values():
            pair.run()  # until windows and buffers have grown
        rounds = [{name: pair.run() for name, pair in pairs.items()} for _ in range(ROUNDS)]
    costs = {name: [costs[name] for costs in rounds] for name in WAYS}
    rows: list[tuple[str, ...]] = []
    exceeded: list[str] = []
    for name in WAYS:
        speed = _compare(costs[SSL], costs[name], SECONDS)
        cpu = _compare(costs[name], costs[SSL], CPU)
        figures = (1 / _typical(costs[name], SECONDS), speed)
        cpus = (_typical(costs[name], SENDER), _typical(costs[name], RECEIVER), cpu)
        rows.append((name, *(f"{it:.2f}" for it in figures + cpus)))
        exceeded += _exceeded(name, costs)
    notes = (
        f"Medians of {ROUNDS} interleaved rounds of {ROUND_BYTES // 2**20} MiB. Ratios: to {SSL}.",
        "Sent in pieces of 256 KiB, if nothing else is said.",
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


def _typical(costs: Sequence[Cost], of: Figure) -> float:
    return median(map(of, costs))


def _compare(costs: Sequence[Cost], others: Sequence[Cost], of: Figure) -> float:
    """How many times the others' it is, rounds being compared with themselves."""
    return median(of(one) / of(other) for one, other in zip(costs, others, strict=True))


def _exceeded(name: str, costs: dict[str, list[Cost]]) -> list[str]:
    limit = LIMITS.get(name)
    if limit is None:
        return []
    exceeded = []
    speed = _compare(costs[limit.other], costs[name], SECONDS)
    if speed < limit.speed:
        exceeded.append(f"{name}: {speed:.2f} times as fast as {limit.other} only")
    cpu = _compare(costs[name], costs[limit.other], CPU)
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
            tuple(_typical(costs[name], what) for name in costs),
            (_typical(costs[TCP], what),) * len(costs),
        )
        for label, what in (("sender", SENDER), ("receiver", RECEIVER))
    )
    return Chart(tuple(costs), "stream", "CPU time, s/GiB", tuple(bars))


def _start(stack: ExitStack, place: Namespace, *arguments: str) -> subprocess.Popen[str]:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", stream_ways.__name__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    process = place.call(start)
    return stack.enter_context(process)  # which closes its input, and waits for it


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark has failed: see what it printed")
    return line
