"""Pairs of processes, of which one sends and the other one receives."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from operator import attrgetter
from statistics import median
from typing import TypeAlias

import attrs

from trio_p2p._lab.namespaces import Namespace

from . import stream_ways
from .programs import read_line, send_line, start
from .servers import ServerProcess

GIB = 2**30
# Have glibc keep all memory that was freed (mallopt(3); more than 32 MiB it does not accept). By
# itself it gives some back to the kernel, or not, depending on what else a program has done.
STEADY_MEMORY: Mapping[str, str] = dict.fromkeys(
    ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(32 * 2**20)
)


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


@attrs.frozen
class Places:
    """Where the two run.

    Attributes:
        sender: where the sender does.
        receiver: where the receiver does, and the broker if there is one.
        host: the receiver's address.
    """

    sender: Namespace
    receiver: Namespace
    host: str


class Pair:
    """The two processes of one way.

    Args:
        stack: what ends them.
        places: where they run.
        name: the way's.
        round_bytes: how much is sent in a round.
    """

    def __init__(self, stack: ExitStack, places: Places, name: str, round_bytes: int) -> None:
        module = stream_ways.__name__
        arguments = name, str(round_bytes), places.host
        self._round_bytes = round_bytes
        self._receiving = start(
            stack, places.receiver, module, "receiver", *arguments, variables=STEADY_MEMORY
        )
        port = int(read_line(self._receiving))
        self._sending = start(
            stack,
            places.sender,
            module,
            "sender",
            *arguments,
            str(port),
            variables=STEADY_MEMORY,
        )
        self._receiver = ServerProcess(self._receiving.pid, port)
        self._sender = ServerProcess(self._sending.pid, port)

    def run(self) -> Cost:
        """One round."""
        before = time.perf_counter(), self._sender.cpu_seconds, self._receiver.cpu_seconds
        send_line(self._sending)
        read_line(self._receiving)
        after = time.perf_counter(), self._sender.cpu_seconds, self._receiver.cpu_seconds
        share = self._round_bytes / GIB
        return Cost(*((end - start) / share for start, end in zip(before, after, strict=True)))


def measure_interleaved(
    places: Places, names: Sequence[str], round_bytes: int, rounds: int, *, starts: int = 1
) -> dict[str, list[Cost]]:
    """What each way took in each round; they take turns.

    Args:
        places: where they run.
        names: the ways'.
        round_bytes: how much is sent in a round.
        rounds: how many rounds the same processes run.
        starts: how often to do it all with new processes: where one's memory lies, and how fast
            it is, is a matter of luck that lasts as long as it does.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for _ in range(starts):
        for name, more in _measure_started(places, names, round_bytes, rounds).items():
            costs[name] += more
    return costs


def _measure_started(
    places: Places, names: Sequence[str], round_bytes: int, rounds: int
) -> dict[str, list[Cost]]:
    with ExitStack() as stack:
        pairs = {name: Pair(stack, places, name, round_bytes) for name in names}
        for pair in pairs.values():
            pair.run()  # until windows and buffers have grown
        costs = [{name: pair.run() for name, pair in pairs.items()} for _ in range(rounds)]
    return {name: [each[name] for each in costs] for name in names}


def typical(costs: Sequence[Cost], of: Figure) -> float:
    return median(map(of, costs))


def compare(costs: Sequence[Cost], others: Sequence[Cost], of: Figure) -> float:
    """How many times the others' it is, rounds being compared with themselves."""
    return median(of(one) / of(other) for one, other in zip(costs, others, strict=True))
