"""What the commands run first: it answers ``--version``, and loads all else.

To load the rest takes twice as long as to load Trio. An interrupt that comes meanwhile, or when all
is done, ends the process without a word, as ``SIGTERM`` does: there is nothing to be left in order.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``trio-p2p``; the exit code."""
    _prepare()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        from .version import show_version  # noqa: PLC0415 - see above

        return show_version("trio-p2p")
    from .main import main as run  # noqa: PLC0415 - see above

    with _ending():
        return run(given)


def main_of_broker(arguments: Sequence[str] | None = None) -> int:
    """Run ``trio-p2p-broker``; the exit code."""
    _prepare()
    from .broker import main as run  # noqa: PLC0415 - see above

    with _ending():
        return run(arguments)


@contextmanager
def _ending() -> Generator[None]:
    """Let the exit status stand at the end, though standard error cannot take what is left."""
    try:
        yield
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)


def _prepare() -> None:
    if sys.stderr is None:  # then print() and argparse would take standard output
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and it is not ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
