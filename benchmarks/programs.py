"""The processes of a benchmark: each is in a place, prints lines, and ends when its input does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack

from trio_p2p._lab.namespaces import Namespace


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
