"""Runs a fuzz target: libFuzzer makes up more inputs from the seeds, and from a corpus if given."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris


def run(feed: Callable[[bytes], None], seeds: Iterable[bytes]) -> int:
    """Run a target as a program; the exit code.

    Args:
        feed: runs one input; whatever it raises is a bug.
        seeds: inputs to begin with.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds):
            Path(folder, str(number)).write_bytes(seed)
        child = os.fork()  # libFuzzer ends its process without cleaning up
        if not child:
            atheris.Setup([*sys.argv, folder], feed)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
