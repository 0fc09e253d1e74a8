"""``trio-p2p answer``, ``ping`` and ``speed`` as processes."""

from collections.abc import Generator
from contextlib import contextmanager

from .commands import BrokerTool, Tool, command


@contextmanager
def answering(broker: BrokerTool, uid: str, *options: str) -> Generator[Tool]:
    """What answers under a UID; its line on standard error is read."""
    argv = command("trio-p2p", "answer", uid, *options)
    with Tool(*argv, broker=broker.address) as tool:
        line = tool.errors.readline().decode()
        assert line.startswith("trio-p2p: answering "), line
        yield tool


def asking(broker: BrokerTool, asks: str, uid: str, *options: str) -> Tool:
    """What asks a peer that answers: ``ping`` or ``speed``."""
    return Tool(*command("trio-p2p", asks, uid, *options), broker=broker.address)
