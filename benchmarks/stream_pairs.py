"""Pairs of processes, of which one sends and the other one receives."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import attrs

from trio_p2p._lab.namespaces import Namespace

from . import stream_ways
from .costs import Cost, Meter
from .programs import read_line, send_line, start

GIB = 2**30
# Have glibc keep all memory that was freed (mallopt(3); more than 32 MiB it does not accept). By
# itself it gives some back to the kernel, or not, depending on what else a program has done.
STEADY_MEMORY: Mapping[str, str] = dict.fromkeys(
    ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(32 * 2**20)
)


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
        self._meter = Meter(self._sending, self._receiving)

    def run(self) -> Cost:
        """One round; its cost is per GiB."""
        return self._meter.measure(self._run, self._round_bytes / GIB)

    def _run(self) -> None:
        send_line(self._sending)
        read_line(self._receiving)


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
