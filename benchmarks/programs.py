"""The processes of a benchmark: each is in a place, prints lines, and ends when its input does."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs

from trio_p2p._lab.namespaces import Namespace

_CPUCLOCK_SCHED = 2  # linux/posix-timers.h
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class RunningProcess:
    """A process that runs, and what it has used of the machine."""

    pid: int

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far, user and system, of all its threads."""
        # clock_getcpuclockid(3), which Python lacks: finer than the ticks of /proc/PID/stat.
        return time.clock_gettime(~self.pid << 3 | _CPUCLOCK_SCHED)

    @property
    def resident_bytes(self) -> int:
        """The resident set size now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def start(
    stack: ExitStack,
    place: Namespace,
    module: str,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a module as a program in a place; the stack ends it.

    Args:
        stack: the stack.
        place: where it runs.
        module: its name.
        arguments: for its command line.
        variables: for its environment, besides our own.
    """

    def start_process() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(variables or {})},
            text=True,
        )

    process = place.call(start_process)
    return stack.enter_context(process)  # which closes its input, and waits for it


def send_line(process: subprocess.Popen[str], line: str = "") -> None:
    """Tell a program to go on, and perhaps with what."""
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def read_line(process: subprocess.Popen[str]) -> str:
    """What a program prints next."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark has failed: see what it printed")
    return line.rstrip("\n")
