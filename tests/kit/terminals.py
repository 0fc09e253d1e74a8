"""Terminals, as a user has them before a shell tool."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO


@contextmanager
def open_terminal() -> Generator[tuple[FileIO, FileIO]]:
    """What a user sees and types at, and what a program has as its standard streams."""
    ours, terminal = os.openpty()
    with FileIO(ours, "r+") as screen, FileIO(terminal, "r+") as streams:
        yield screen, streams


def read_until(screen: FileIO, ending: bytes) -> bytes:
    """What is shown until it ends with something."""
    shown = b""
    while not shown.endswith(ending):
        shown += screen.read(1000) or b""
    return shown
