"""``trio-p2p completion``: has a shell complete commands and options, as the parser knows them."""

from __future__ import annotations

import argparse
from importlib import import_module

from .run import CommandError

SHELLS = ("bash", "zsh")


def add_completion_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Prints a script that has your shell complete the commands and options of trio-p2p."
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"of {', '.join(SHELLS)}")


def completion_script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for a shell.

    Args:
        shell: one of :data:`SHELLS`.
        parser: of all commands.

    Raises:
        CommandError: shtab, which makes it, is not installed.
    """
    try:
        shtab = import_module("shtab")  # an extra
    except ImportError as error:
        raise CommandError("this needs shtab: run pip install 'trio-p2p[completion]'") from error
    script: str = shtab.complete(parser, shell)
    return script
