"""Shell tools that run inside the namespaces of a lab."""

import subprocess
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from trio_p2p._lab.namespaces import Namespace

PATIENCE = 60.0  # seconds


@contextmanager
def popen(namespace: Namespace, *argv: str) -> Generator[subprocess.Popen[str]]:
    """Start a program inside a namespace, with pipes; at the end it is killed if it still runs."""

    def open_process() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    with namespace.call(open_process) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_listening(
    namespace: Namespace, ports: Collection[int], process: subprocess.Popen[str]
) -> None:
    """Wait until a program listens on ports of IPv4 inside a namespace."""
    deadline = time.monotonic() + PATIENCE
    while not _listening(namespace).issuperset(ports):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "the program does not listen"
        time.sleep(0.02)


def _listening(namespace: Namespace) -> set[int]:
    lines = namespace.call(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]
    fields = [line.split() for line in lines]
    return {int(each[1].partition(":")[2], 16) for each in fields if each[3] == "0A"}
