"""How long a program takes to start: what it imports, beside a bare ``import trio``.

Each program is a process of its own, from its start to its end. They take turns, so that a machine
that is slow for a while is slow for all of them, and the median of each is compared.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

from .tables import Table

ROUNDS = 60
# Times that of `import trio`.
MAX_IMPORT, MAX_VERSION = 1.5, 1.3

_BASE = "import trio"
_IMPORT, _VERSION = "import trio_p2p", "trio-p2p --version"
_LIMITS = {_IMPORT: MAX_IMPORT, _VERSION: MAX_VERSION}


def _running(statement: str) -> list[str]:
    return [sys.executable, "-c", statement]


# What the scripts that an installation makes do, wherever they are.
_ENTRY = "import sys; from trio_p2p._commands.entry import main; sys.exit(main(sys.argv[1:]))"

PROGRAMS = {
    "no import": _running("pass"),
    _BASE: _running(_BASE),
    _IMPORT: _running(_IMPORT),
    "from trio_p2p import open_peer": _running("from trio_p2p import open_peer"),
    "from trio_p2p import serve_broker": _running("from trio_p2p import serve_broker"),
    _VERSION: [*_running(_ENTRY), "--version"],
    "trio-p2p --help": [*_running(_ENTRY), "--help"],
}


def measure() -> Table:
    for argv in PROGRAMS.values():  # writes the bytecode, and has the files read
        _seconds(argv)
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, argv in PROGRAMS.items():
            taken[name].append(_seconds(argv))
    medians = {name: median(times) for name, times in taken.items()}
    ratios = {name: seconds / medians[_BASE] for name, seconds in medians.items()}
    return Table(
        "What a program's start takes",
        ("program", "median", f"times {_BASE}"),
        tuple(
            (name, f"{1000 * seconds:.0f} ms", f"{ratios[name]:.2f}")
            for name, seconds in medians.items()
        ),
        notes=(
            f"{ROUNDS} processes each, which take turns.",
            f"Limits: {MAX_IMPORT:g} times {_BASE} for {_IMPORT}, {MAX_VERSION:g} for {_VERSION}.",
        ),
        exceeded=tuple(
            f"{name}: {ratios[name]:.2f} times {_BASE}"
            for name, limit in _LIMITS.items()
            if ratios[name] > limit
        ),
    )


def _seconds(argv: Sequence[str]) -> float:
    started_at = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_at
