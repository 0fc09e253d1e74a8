"""How fast a file is sent, beside as many bytes over a bare stream between the same processes.

A file is read, hashed and written besides, at each side by a thread next to that of the stream. On
a link of 1 Gbit/s that has to cost little; on the loopback interface, where the processors decide,
all that is done for a file is seen. Rounds take turns.

Limit: see ``LIMIT``.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.kit.lab import KernelNetwork, NamespacesUnavailableError
from trio_p2p._lab.namespaces import enter_user_namespace_if_needed
from trio_p2p._lab.networks import WAN

from . import file_programs
from .costs import CPU, SECONDS, Cost, Meter, compare, typical
from .file_programs import FILE, STREAM
from .places import open_loopback_without_pacing, stop_pacing
from .programs import read_line, send_line, start
from .stream_pairs import STEADY_MEMORY, Places
from .tables import Table

TITLE = "Speed of a file, beside a bare stream"
COLUMNS = ("between", "stream, MiB/s", "file, MiB/s", "ratio", "ratio of CPU time")
MIB = 2**20
FILE_BYTES = 256 * MIB
ROUNDS = 7
RATE = 1_000_000_000  # bits per second
LIMIT = 0.8  # times the stream's speed, over the link
LINK, LOOPBACK = "hosts, 1 Gbit/s", "processes, loopback"


def measure() -> Table:
    rows, exceeded = [], []
    try:
        enter_user_namespace_if_needed()
        for name, open_places in ((LINK, _open_link), (LOOPBACK, _open_loopback)):
            with ExitStack() as stack:
                costs = _measure(open_places(stack))
            ratio = compare(costs[STREAM], costs[FILE], SECONDS)
            speeds = (1 / typical(costs[way], SECONDS) for way in (STREAM, FILE))
            cpu = compare(costs[FILE], costs[STREAM], CPU)
            rows.append((name, *(f"{speed:.0f}" for speed in speeds), f"{ratio:.2f}", f"{cpu:.2f}"))
            if name == LINK and ratio < LIMIT:
                exceeded.append(f"{name}: a file is {ratio:.2f} times as fast as a stream only")
    except NamespacesUnavailableError as error:
        return Table(TITLE, COLUMNS, (), (f"Not measured: {error}",))
    return Table(
        TITLE,
        COLUMNS,
        tuple(rows),
        (
            f"Medians of {ROUNDS} interleaved rounds of {FILE_BYTES // MIB} MiB.",
            f"Limit for {LINK}: a ratio of {LIMIT:g}.",
        ),
        tuple(exceeded),
    )


def _open_link(stack: ExitStack) -> Places:
    network = stack.enter_context(KernelNetwork())
    hosts = network.add_host(), network.add_host()
    for host in hosts:
        stop_pacing(host.host)
        shaper = f"tbf rate {RATE}bit burst 256k limit 4m"
        host.host.command("tc", "qdisc", "add", "dev", WAN, "root", *shaper.split())
    giver, taker = hosts
    return Places(taker.host, giver.host, str(giver.host_address))


def _open_loopback(stack: ExitStack) -> Places:
    place = stack.enter_context(open_loopback_without_pacing())
    return Places(place, place, "127.0.0.1")


def _measure(places: Places) -> dict[str, list[Cost]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source, target = folder / "source", folder / "target"
        target.mkdir()
        with source.open("wb") as file:
            for _ in range(FILE_BYTES // MIB):
                file.write(os.urandom(MIB))
        module = file_programs.__name__
        giver = start(
            stack,
            places.receiver,
            module,
            "giver",
            str(source),
            places.host,
            variables=STEADY_MEMORY,
        )
        arguments = "taker", str(target), places.host, read_line(giver)
        taker = start(stack, places.sender, module, *arguments, variables=STEADY_MEMORY)
        meter = Meter(giver, taker)

        def taking(way: str) -> Callable[[], None]:
            def take() -> None:
                send_line(taker, way)
                read_line(taker)

            return take

        for way in (STREAM, FILE):
            taking(way)()  # until windows and buffers have grown
        costs: dict[str, list[Cost]] = {STREAM: [], FILE: []}
        for _ in range(ROUNDS):
            for way, each in costs.items():
                each.append(meter.measure(taking(way), FILE_BYTES / MIB))
    return costs
