"""Terminals of 80 columns and 24 lines, as a user has them before a shell tool."""

import os
import termios
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Any

import pyte

from .commands import SECONDS, Tool

COLUMNS, LINES = 80, 24


@contextmanager
def open_terminal(columns: int = COLUMNS) -> Generator[tuple[FileIO, FileIO]]:
    """What a user sees and types at, and what a program has as its standard streams."""
    ours, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (LINES, columns))
    with FileIO(ours, "r+") as screen, FileIO(terminal, "r+") as streams:
        yield screen, streams


def read_until(screen: FileIO, ending: bytes) -> bytes:
    """What is shown until it ends with something."""
    shown = b""
    while not shown.endswith(ending):
        shown += screen.read(1000) or b""
    return shown


def read_all(screen: FileIO) -> bytes:
    """What is shown until all programs that have the terminal have ended."""
    shown = b""
    with suppress(OSError):  # which says so
        while data := screen.read(65536):
            shown += data
    return shown


def run_in_terminal(*argv: str, **options: Any) -> tuple[int, bytes]:
    """Run a tool to its end; its exit code, and what it has written to its terminal."""
    with (
        open_terminal() as (screen, streams),
        Tool(*argv, stdin=streams, stdout=streams, stderr=streams, **options) as tool,
    ):
        streams.close()
        shown = read_all(screen)
        return tool.process.wait(SECONDS), shown


def lines_of_screen(shown: bytes) -> list[str]:
    """What is to be seen at the end, without the blanks behind and below it."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(shown)
    return "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")
