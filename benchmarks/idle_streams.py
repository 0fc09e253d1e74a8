"""The memory of both peers for each idle stream of one connection.

A client opens 10,000 streams over one connection and holds them; on the server, a handler waits in
``receive_some`` for each. One byte goes through each stream in each direction, and then all fall
silent. Those tasks are the application's: what as many sleeping tasks take is subtracted from the
server's share. Measured is the resident memory, and, in processes of their own since it needs
memory itself, what Python's tracemalloc traces.

Limit: 1 KiB for each stream on either side, by both measures.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import attrs

from trio_p2p._lab.namespaces import Namespace, NamespacesUnavailableError

from . import idle_stream_peers
from .idle_stream_peers import MAX_STREAMS
from .places import open_loopback_without_pacing
from .programs import RunningProcess, read_line, send_line, start
from .request_pairs import HOST
from .tables import Table

TITLE = f"Memory per idle stream, {MAX_STREAMS:,} of them on one connection"
COLUMNS = (
    "side",
    "resident, KiB each",
    "of it the application's task",
    "left",
    "traced, KiB each",
    "of it the application's task",
    "left",
)
LIMIT_KIB = 1.0
WARM_UP = 50
COUNT = MAX_STREAMS - WARM_UP
TRACING = {"PYTHONTRACEMALLOC": "1"}


@attrs.frozen
class Memory:
    """Bytes, of a process or for each stream: what is resident, and what is traced."""

    resident: float
    traced: float

    def since(self, before: "Memory", count: int) -> "Memory":
        """Return the bytes that have come for each of so many."""
        return Memory(
            (self.resident - before.resident) / count, (self.traced - before.traced) / count
        )


class Holder:
    """A process that holds streams or tasks.

    Args:
        stack: what ends it.
        place: where it runs.
        arguments: its role, and what that needs to know.
        variables: for its environment.
    """

    def __init__(
        self, stack: ExitStack, place: Namespace, *arguments: str, variables: Mapping[str, str]
    ) -> None:
        module = idle_stream_peers.__name__
        self._process = start(stack, place, module, *arguments, variables=variables)
        self.address = read_line(self._process)

    def hold(self, count: int) -> Memory:
        """Have it hold so many more, and return its memory then."""
        send_line(self._process, str(count))
        traced = int(read_line(self._process))
        return Memory(RunningProcess(self._process.pid).resident_bytes, traced)


def measure() -> Table:
    try:
        place = open_loopback_without_pacing()
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    with place:
        resident, traced = (_measure_all(place, variables) for variables in ({}, TRACING))
    rows: list[tuple[str, ...]] = []
    exceeded: list[str] = []
    for side, tasks in (("client", 0), ("server", 1)):
        cells = [side]
        for measured, of in ((resident, "resident"), (traced, "traced")):
            whole = getattr(measured[side], of) / 1024
            task = tasks * getattr(measured["tasks"], of) / 1024
            left = whole - task
            cells += [f"{kib:.2f}" for kib in (whole, task, left)]
            if left > LIMIT_KIB:
                exceeded.append(f"{side}: {left:.2f} KiB for each stream, {of}")
        rows.append(tuple(cells))
    note = f"Limit of what is left: {LIMIT_KIB:g} KiB."
    return Table(TITLE, COLUMNS, tuple(rows), (note,), tuple(exceeded))


def _measure_all(place: Namespace, variables: Mapping[str, str]) -> dict[str, Memory]:
    """Return what each stream takes on each side, and each task, by the role that holds it."""
    with ExitStack() as stack:
        server = Holder(stack, place, "server", HOST, variables=variables)
        client = Holder(stack, place, "client", server.address, variables=variables)
        tasks = Holder(stack, place, "tasks", variables=variables)
        holders = {"client": client, "server": server, "tasks": tasks}  # the client opens first
        before = {role: holder.hold(WARM_UP) for role, holder in holders.items()}
        after = {role: holder.hold(COUNT) for role, holder in holders.items()}
    return {role: after[role].since(before[role], COUNT) for role in holders}
