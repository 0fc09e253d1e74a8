"""Prints a result at once, where nothing runs yet that could do it; loads next to nothing."""

from __future__ import annotations

import os
import sys


def print_result(program: str, text: str) -> int:
    """Print lines on standard output; the exit code. What goes wrong is said on standard error.

    Args:
        program: the name of the command.
        text: the lines.
    """
    if sys.stdout is None:
        reason = "it is closed"
    else:
        try:
            print(text, flush=True)
        except OSError as error:
            reason = str(error.strerror)
            # What is left goes nowhere: the interpreter would complain about it at its end.
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        else:
            return 0
    print(f"{program}: standard output cannot be written: {reason}", file=sys.stderr)
    return 1
