"""What both commands share: running until the end, a signal or an error, and the exit code."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from .._errors import P2PError

EXIT_FAILED = 1
EXIT_SIGNALLED = 128  # and the number of the signal, as shells count


class CommandError(Exception):
    """A command cannot go on; the text is a sentence for the user."""


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--verbose`` to a parser."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say on standard error what happens"
    )


def run_command(main: Callable[[], Awaitable[None]], *, verbose: bool) -> int:
    """Run a command; the exit code. An error becomes one sentence on standard error."""
    if sys.stderr is None:  # then print() would take standard output
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if verbose:
        logging.basicConfig(
            level=logging.DEBUG, format="%(relativeCreated)8.1f ms  %(name)s  %(message)s"
        )
    else:
        logging.basicConfig(level=logging.WARNING, format=f"{_program()}: %(message)s")
    code = EXIT_FAILED
    try:
        signalled = trio.run(_run_until_signal, main)
        code = EXIT_SIGNALLED + signalled if signalled else 0
    except* KeyboardInterrupt:  # before or after the signals are received otherwise
        code = EXIT_SIGNALLED + signal.SIGINT
    except* (P2PError, CommandError, OSError) as group:
        print(f"{_program()}: {_sentence(group)}", file=sys.stderr)
    return code


async def _run_until_signal(main: Callable[[], Awaitable[None]]) -> int:
    """Run until the end or a signal; then everything is left in order. The signal, or 0."""
    received = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal received
                async for number in signals:
                    received = number
                    nursery.cancel_scope.cancel(reason=f"got {signal.Signals(number).name}")

            nursery.start_soon(watch)
            await main()
            nursery.cancel_scope.cancel(reason="the command is done")
    return received


def _program() -> str:
    return Path(sys.argv[0]).name


def _sentence(group: BaseExceptionGroup[Exception]) -> str:
    """What the first error of a group says."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)
