"""Shell tools that run inside the namespaces of a lab."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager

from trio_p2p._lab.namespaces import Namespace


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
