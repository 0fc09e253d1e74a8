"""What the command ``trio-p2p`` runs first: it answers ``--version``, and loads all else.

To load the rest takes twice as long as to load Trio. An interrupt may come meanwhile.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from .version import show_version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``trio-p2p``; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        return show_version("trio-p2p")
    try:
        from .main import main as run  # noqa: PLC0415 - see above

        return run(given)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as shells count
