"""A pytest plugin: only the tests of pure modules, as on a system without what is Linux's own.

``nox -s portable`` runs it, on every system. On Linux modules and functions that Windows lacks are
hidden first, so that a test that would fail there for want of one fails here, too.
"""

import os
import socket
import sys
from pathlib import Path

import trio  # which has to find what is hidden below

from tests.test_layers import PURE

TESTS = Path(__file__).parents[1]
# Their tests use sockets, files or the NAT lab, beside what is pure.
NEEDING_LINUX = {
    "trio_p2p._broker.observer",
    "trio_p2p._broker.watches",
    "trio_p2p._connect.path_record",
    "trio_p2p._errors",
    "trio_p2p._files.intake",
    "trio_p2p._files.names",
    "trio_p2p._nat.classification",
    "trio_p2p._traversal.syn_budget",
}
HIDDEN_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
HIDDEN_NAMES = {
    os: ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "fork", "killpg", "pipe2", "readv", "splice"),
    socket: ("AF_NETLINK", "AF_UNIX", "SO_REUSEPORT"),
}


def tests_of(module: str) -> Path:
    """Where the tests of a module are, if it has any of its own."""
    _, *rooms, name = module.split(".")
    folder = TESTS.joinpath(*(room.removeprefix("_") for room in rooms))
    return folder / f"test_{name.removeprefix('_')}.py"


PORTABLE = {tests_of(module) for module in PURE if module not in NEEDING_LINUX}


def pytest_configure() -> None:
    assert trio.__version__
    for module in HIDDEN_MODULES:
        sys.modules[module] = None  # type: ignore[assignment]  # to import it is an error now
    for place, names in HIDDEN_NAMES.items():
        for name in names:
            if hasattr(place, name):
                delattr(place, name)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    is_test = collection_path.name.startswith("test_")
    return True if is_test and collection_path not in PORTABLE else None
