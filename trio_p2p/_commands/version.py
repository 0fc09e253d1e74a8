"""``--version``, which has to load next to nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .printing import print_result


class _Version(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - nothing is kept
        values: str | Sequence[object] | None,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        parser.exit(show_version(parser.prog))


def add_version_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--version`` to a parser."""
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and exit")


def show_version(program: str) -> int:
    """Print the version; the exit code."""
    from importlib.metadata import version  # noqa: PLC0415 - it takes longer than all else here

    return print_result(program, f"{program} {version('trio-p2p')}")
