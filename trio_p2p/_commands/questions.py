"""Asks the user before something is done."""

from __future__ import annotations

import sys

from .standard_streams import read_standard_input


def can_ask() -> bool:
    """Whether a user sits at a terminal."""
    return sys.stdin.isatty()


async def ask(question: str) -> bool:
    """Ask on standard error; whether the answer is yes. The end of standard input is no answer.

    Raises:
        CommandError: standard input cannot be read.

    If cancelled, the thread that reads is abandoned.
    """
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = await read_standard_input()
    if not answer.endswith(b"\n"):
        print(file=sys.stderr)
    return answer.strip().lower() in (b"y", b"yes")
