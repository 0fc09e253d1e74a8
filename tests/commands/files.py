"""Files that several processes use at once."""

import subprocess
import sys
from pathlib import Path

PROCESSES = 3


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def run_at_once(program: str, *arguments: str) -> list[str]:
    """What several processes print that run the same program."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(number), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in processes:  # every one is ready
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return outputs
