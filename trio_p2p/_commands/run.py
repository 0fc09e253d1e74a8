"""What both commands share: running until the end, a signal or an error, and the exit code."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import cast

import trio

from .._errors import LocalProtocolError, P2PError
from .terminal import columns_of, fitted, harmless

notes = logging.getLogger("trio_p2p.notes")  # whether any are wanted is its level

EXIT_FAILED = 1
EXIT_MISUSED = 2  # as argparse has it
EXIT_SIGNALLED = 128  # and the number of the signal, as shells count


class CommandError(Exception):
    """A command cannot go on; the text is a sentence for the user."""


class UsageError(CommandError):
    """The options of a command do not go together."""


def exit_code_of(error: BaseException) -> int:
    """The exit code of a command that has ended with an error."""
    match error:
        case UsageError() | LocalProtocolError():
            return EXIT_MISUSED
        case _:
            return EXIT_FAILED


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--verbose`` and ``--quiet`` to a parser."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-v", "--verbose", action="store_true", help="say on standard error what happens"
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="say on standard error only what goes wrong"
    )


def log_for_user(*, verbose: bool, quiet: bool = False) -> None:
    """Write log lines for the user of a tool: all of them, or warnings only.

    Args:
        verbose: whether to write all.
        quiet: whether :func:`tell_user` is to say nothing.
    """
    notes.setLevel(logging.WARNING if quiet else logging.INFO)
    handler = logging.StreamHandler()
    if verbose:
        handler.setFormatter(_Fitted("%(relativeCreated)8.1f ms  %(name)s  %(message)s"))
    else:
        handler.setFormatter(_Fitted(f"{_program()}: %(message)s"))
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])


def is_progress_wanted() -> bool:
    """Whether the user wants a line that changes: not if quiet, nor in between many log lines."""
    return notes.isEnabledFor(logging.INFO) and not logging.getLogger().isEnabledFor(logging.DEBUG)


class _Fitted(logging.Formatter):
    """Makes log lines that fit the terminal, if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return shown_as_error(super().format(record))


def stopping_signals() -> list[signal.Signals]:
    """The signals that end a tool, as it may have been started from a terminal."""
    stopping = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which is how nohup starts commands
        stopping.append(signal.SIGHUP)
    return stopping


def run_command(
    main: Callable[[], Awaitable[None]],
    begin_logging: Callable[[], object],
    stopping: Iterable[signal.Signals],
) -> int:
    """Run a command; the exit code. An error becomes one sentence on standard error.

    Args:
        main: what to run.
        begin_logging: called before.
        stopping: the signals that end it.
    """
    begin_logging()
    code = 0
    try:
        signalled = trio.run(_run_until_signal, main, stopping)
        code = EXIT_SIGNALLED + signalled if signalled else 0
    except* (P2PError, CommandError, OSError) as group:
        error = _first_of(group)
        code = exit_code_of(error)
        _write_line(str(error))
    return code


def tell_user(text: str) -> None:
    """Write a line on standard error that is no error, unless the user wants none of these."""
    if notes.isEnabledFor(logging.INFO):
        _write_line(text)


def tell_user_always(text: str) -> None:
    """Write a line on standard error that the user needs, also one who wants it quiet."""
    _write_line(text)


def shown_as_error(text: str) -> str:
    """A text as lines of standard error."""
    return fitted(harmless(text), columns_of(sys.stderr))


def _write_line(text: str) -> None:
    with suppress(OSError):  # of a terminal that is closed
        print(shown_as_error(f"{_program()}: {text}"), file=sys.stderr)


async def _run_until_signal(
    main: Callable[[], Awaitable[None]], stopping: Iterable[signal.Signals]
) -> int:
    """Run until the end or a signal; then everything is left in order. The signal, or 0."""
    received = 0
    with trio.open_signal_receiver(*stopping) as signals:
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


def _first_of(error: BaseException) -> BaseException:
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _first_of(group.exceptions[0])
