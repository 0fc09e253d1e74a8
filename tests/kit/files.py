"""``trio-p2p send`` and ``receive`` as processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .commands import SECONDS, BrokerTool, Tool, command

PATIENCE = 5 * SECONDS
LOOK = 0.01  # seconds between two looks at a file


def send(broker: BrokerTool, uid: str, *arguments: str | Path, **streams: Any) -> Tool:
    """What gives files, registered."""
    argv = command("trio-p2p", "send", "--uid", uid, *map(str, arguments))
    with broker.expecting_registration(uid):
        return Tool(*argv, broker=broker.address, **streams)


def receive(broker: BrokerTool, uid: str, *arguments: str | Path, **streams: Any) -> Tool:
    """What takes files."""
    argv = command("trio-p2p", "receive", uid, *map(str, arguments))
    return Tool(*argv, broker=broker.address, **streams)


def bytes_in(folder: Path) -> int:
    """How many bytes the files of a folder have, complete or not."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again, as nothing tells of changes of files."""
    tries = int(PATIENCE / LOOK)
    while not is_so():
        tries -= 1
        assert tries
        time.sleep(LOOK)
