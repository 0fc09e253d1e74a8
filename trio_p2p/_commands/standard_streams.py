"""Standard input and output, read and written in threads.

Without threads their descriptors would have to be non-blocking. But that is a property of the open
file, which other processes share, such as the shell that owns the terminal; and it would stay so
if this process were killed.
"""

from __future__ import annotations

import os
import select
import sys
from functools import partial

import trio

from .run import CommandError

CHUNK_BYTES = 262_144

_INPUT, _OUTPUT = 0, 1
_LIKE = str.maketrans({"→": "->", "–": "-", "…": "..."})

# Where a thread has to be abandoned, the process is about to end.
_run_in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)


def require_standard_streams() -> None:
    """Make sure that the descriptors are not those of other files, opened since.

    Raises:
        CommandError: this process was started without standard input or output.
    """
    names = {"standard input": sys.stdin, "standard output": sys.stdout}
    closed = [name for name, file in names.items() if file is None]
    if closed:
        verb, them = ("are", "them") if len(closed) > 1 else ("is", "it")
        raise CommandError(f"{' and '.join(closed)} {verb} closed: redirect {them} to /dev/null")


async def read_standard_input() -> bytes:
    """Some bytes, or none at the end.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        return await _run_in_thread(_read)
    except OSError as error:
        raise CommandError(f"standard input cannot be read: {error.strerror}") from error


def has_standard_input() -> bool:
    """Whether there is something to read now, or the end."""
    return bool(select.select([_INPUT], [], [], 0)[0])


async def write_standard_output(data: bytes | bytearray) -> None:
    """Write all of it.

    Raises:
        CommandError: it cannot be written.
    """
    try:
        await _run_in_thread(_write, data)
    except BrokenPipeError as error:
        raise CommandError("standard output is closed: its reader has ended") from error
    except OSError as error:
        raise CommandError(f"standard output cannot be written: {error.strerror}") from error


async def write_line(text: str) -> None:
    """Write a line of text, in characters that standard output can show.

    Raises:
        CommandError: it cannot be written.
    """
    await write_standard_output(f"{printable(text)}\n".encode(sys.stdout.encoding))


def printable(text: str) -> str:
    """The text, in characters that standard output can show; the others become like ones, or ?."""
    encoding = sys.stdout.encoding
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_LIKE).encode(encoding, "replace").decode(encoding)
    return text


def end_standard_output() -> None:
    """Tell who reads it that this is the end. What is still printed goes nowhere."""
    # Not closed: the next file to be opened would become the standard output.
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, _OUTPUT)
    os.close(nowhere)


def _read() -> bytes:
    select.select([_INPUT], [], [])  # another process may have made it non-blocking
    return os.read(_INPUT, CHUNK_BYTES)


def _write(data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        select.select([], [_OUTPUT], [])
        rest = rest[os.write(_OUTPUT, rest) :]
