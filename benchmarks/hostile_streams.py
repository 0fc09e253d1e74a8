"""What admitted peers that flood their connection cost the receiver, and an honest peer beside.

For each attack there are three processes: a receiver, an honest sender that plays ping-pong, and an
attacker, which sends frames as fast as it can and keeps to all limits, so that its connection
stays. It attacks twice: alone, for the CPU time of both sides and the receiver's memory, and while
the honest sender plays.

Limits: see ``LIMIT_MIB`` and ``LIMIT_CPU_RATIO``.
"""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trio_p2p._stream.credit import DEFAULT_STREAMS, reserved_memory

from . import hostile_stream_peers
from .hostile_stream_peers import ATTACKS
from .programs import RunningProcess, read_line, send_line
from .tables import Table

HOST = "127.0.0.1"
SECONDS = 2.0  # of each attack
MIB = 2**20
LIMIT_MIB = reserved_memory(DEFAULT_STREAMS) / MIB + 24  # and 24 KiB for each stream and its task
LIMIT_CPU_RATIO = 10.0
COLUMNS = (
    "frames",
    "1,000 per second",
    "receiver, µs each",
    "attacker, µs each",
    "ratio",
    "memory, MiB",
    "ping-pong p50, ms",
    "÷ without",
    "p99, ms",
    "÷ without",
)


def measure() -> Table:
    rows: list[tuple[str, ...]] = []
    exceeded: list[str] = []
    for name in ATTACKS:
        row, memory, ratio = _measure_attack(name)
        rows.append(row)
        if memory > LIMIT_MIB:
            exceeded.append(f"{memory:.0f} MiB: {name}")
        if ratio > LIMIT_CPU_RATIO:
            exceeded.append(f"{ratio:.0f} times the attacker's CPU time: {name}")
    return Table(
        "Admitted peers that flood their connection, and an honest one beside",
        COLUMNS,
        tuple(rows),
        (
            "All on one machine: the attacker's own work is part of what slows the others.",
            f"Limits: {LIMIT_MIB:.0f} MiB, and {LIMIT_CPU_RATIO:g} times the attacker's CPU time.",
        ),
        tuple(exceeded),
    )


def _measure_attack(name: str) -> tuple[tuple[str, ...], float, float]:
    """Return the row of an attack, the memory in MiB and the ratio of CPU times."""
    with ExitStack() as stack:
        receiver = stack.enter_context(_running("receiver", HOST))
        address = read_line(receiver)
        honest = stack.enter_context(_running("honest", address))
        attacker = stack.enter_context(_running("attacker", name, address))
        read_line(honest)
        read_line(attacker)
        _play(honest)  # to warm up
        without = _play(honest)
        processes = RunningProcess(receiver.pid), RunningProcess(attacker.pid)
        resident = _forget_peak(processes[0])
        before, began_at = [each.cpu_seconds for each in processes], time.perf_counter()
        send_line(attacker, str(SECONDS))
        frames = int(read_line(attacker))
        seconds = time.perf_counter() - began_at
        of_receiver, of_attacker = (
            (each.cpu_seconds - start) / frames
            for each, start in zip(processes, before, strict=True)
        )
        memory = (_peak(processes[0]) - resident) / MIB
        send_line(attacker, str(SECONDS))
        beside = _play(honest)
        read_line(attacker)
    ratio = of_receiver / of_attacker
    row = [name, f"{frames / seconds / 1000:.1f}"]
    row += [f"{1e6 * of_receiver:.1f}", f"{1e6 * of_attacker:.1f}", f"{ratio:.1f}", f"{memory:.1f}"]
    for during, usual in zip(beside, without, strict=True):
        row += [f"{1000 * during:.1f}", f"{during / usual:.1f}"]
    return tuple(row), memory, ratio


def _play(honest: subprocess.Popen[str]) -> list[float]:
    """Play ping-pong, and return the median and the 99th percentile in seconds."""
    send_line(honest, str(0.9 * SECONDS))
    return list(map(float, read_line(honest).split()))


def _forget_peak(process: RunningProcess) -> int:
    """Let the peak of a process's memory begin anew, and return the memory in bytes (proc(5))."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return process.resident_bytes


def _peak(process: RunningProcess) -> int:
    """Return the peak of a process's resident memory in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024


@contextmanager
def _running(*arguments: str) -> Generator[subprocess.Popen[str]]:
    """A process of the attack; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", hostile_stream_peers.__name__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
