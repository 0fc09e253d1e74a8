"""Honest senders while attackers flood their receiver: how many connect, and how soon.

One receiver, at a broker with its usual limits, and eight attackers at other addresses, for each of
three floods: requests as fast as the broker reads them; steady requests after which no
sender comes; and relay circuits on which nothing is said. Honest senders come one after the
other, each with a broker connection of its own, and are timed until they have an echo.

Limit: every honest sender connects, and the receiver has registered once.
"""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from statistics import median, quantiles

import trio

from trio_p2p import P2PError, open_p2p_stream

from . import flood_peers
from .servers import ServerProcess, running_server
from .tables import Table

COUNT = 50  # honest senders in each phase
PATIENCE = 30.0  # seconds for one of them
PREPARATION = 2.0  # seconds that a flood has lasted when the first honest sender comes
FLOODS = {
    "requests": f"{flood_peers.ATTACKERS} × as many requests as the broker reads",
    "slots": f"{flood_peers.ATTACKERS} × {flood_peers.REQUESTS_PER_SECOND:.0f} idle requests/s",
    "circuits": f"{flood_peers.ATTACKERS} × {flood_peers.CIRCUITS} silent circuits",
}


def measure() -> Table:
    rows: list[tuple[str, ...]] = []
    notes = ["All on one machine: the attackers' own work is part of what slows the others."]
    exceeded: list[str] = []
    for kind, flood in FLOODS.items():
        with running_server("public broker") as server:
            times, registrations, introductions = _times(kind, server)
        for phase, seconds in times.items():
            rows.append((flood, phase, f"{len(seconds)} of {COUNT}", *_milliseconds(seconds)))
            if len(seconds) < COUNT:
                exceeded.append(f"{COUNT - len(seconds)} did not connect {phase} {flood}")
        notes.append(f"{flood}: {introductions:,} introductions reached the receiver.")
        if registrations != 1:
            exceeded.append(f"the receiver registered {registrations} times: {flood}")
    return Table(
        "Honest senders before, during and after floods of their receiver",
        ("flood", "phase", "connected", "p50, ms", "p99, ms"),
        tuple(rows),
        tuple(notes),
        tuple(exceeded),
    )


def _milliseconds(seconds: list[float]) -> tuple[str, str]:
    p99 = quantiles(seconds, n=100, method="inclusive")[-1]
    return f"{1000 * median(seconds):.0f}", f"{1000 * p99:.0f}"


def _times(kind: str, server: ServerProcess) -> tuple[dict[str, list[float]], int, int]:
    """What honest senders took in each phase; the receiver's registrations and introductions."""
    times: dict[str, list[float]] = {}
    port = str(server.port)
    with _running("receiver", port) as receiver:
        times["before"] = trio.run(_come, server)
        with _running("attacker", kind, port):
            times["during"] = trio.run(_come, server, PREPARATION)
        times["after"] = trio.run(_come, server)
        assert receiver.stdin is not None
        assert receiver.stdout is not None
        receiver.stdin.close()
        registrations, introductions = map(int, receiver.stdout.readline().split())
        return times, registrations, introductions


async def _come(server: ServerProcess, after: float = 0) -> list[float]:
    """Seconds to the echo of each honest sender that has one."""
    await trio.sleep(after)
    took = [await _seconds_to_echo(server) for _ in range(COUNT)]
    return [seconds for seconds in took if seconds is not None]


async def _seconds_to_echo(server: ServerProcess) -> float | None:
    started_at = trio.current_time()
    with trio.move_on_after(PATIENCE), suppress(P2PError, trio.BrokenResourceError):
        async with open_p2p_stream(flood_peers.UID, server.address) as stream:
            await stream.send_all(b"!")
            if await stream.receive_some(1) == b"!":
                return trio.current_time() - started_at
    return None


@contextmanager
def _running(*arguments: str) -> Generator[subprocess.Popen[str]]:
    """A process of the flood, once it has begun; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", flood_peers.__name__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
