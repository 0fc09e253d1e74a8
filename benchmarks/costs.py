"""What rounds of work cost two processes, and how the costs of two ways to do it compare."""

import subprocess
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from statistics import median
from typing import TypeAlias

import attrs

from .programs import RunningProcess


@attrs.frozen
class Cost:
    """What one round took for each unit of work: seconds, and the CPU seconds of two processes.

    Attributes:
        seconds: how long it took.
        sender: the CPU time, user and system, of the process that sends, or asks.
        receiver: the CPU time of the process that receives, or answers.
    """

    seconds: float
    sender: float
    receiver: float

    @property
    def cpu(self) -> float:
        """The CPU time of both processes."""
        return self.sender + self.receiver


Figure: TypeAlias = Callable[[Cost], float]
SECONDS, CPU = attrgetter("seconds"), attrgetter("cpu")
SENDER, RECEIVER = attrgetter("sender"), attrgetter("receiver")


class Meter:
    """Measures what two running processes use.

    Args:
        sending: the process that sends, or asks.
        receiving: the process that receives, or answers.
    """

    def __init__(self, sending: subprocess.Popen[str], receiving: subprocess.Popen[str]) -> None:
        self._sender = RunningProcess(sending.pid)
        self._receiver = RunningProcess(receiving.pid)

    def measure(self, run: Callable[[], object], units: float) -> Cost:
        """Run a round of so many units, and return its cost for each of them."""
        before = self._read()
        run()
        after = self._read()
        return Cost(*((end - start) / units for start, end in zip(before, after, strict=True)))

    def _read(self) -> tuple[float, float, float]:
        return time.perf_counter(), self._sender.cpu_seconds, self._receiver.cpu_seconds


def typical(costs: Sequence[Cost], of: Figure) -> float:
    return median(map(of, costs))


def compare(costs: Sequence[Cost], others: Sequence[Cost], of: Figure) -> float:
    """How many times the others' it is, rounds being compared with themselves."""
    return median(of(one) / of(other) for one, other in zip(costs, others, strict=True))
