"""The recording of a first stream shows what the commands do today."""

import re
from pathlib import Path

import pytest

from docs.cast import CAST, COMMANDS, lines_of, record

from ..kit.loopback import reserved_port

pytestmark = [pytest.mark.once, pytest.mark.slow]


def alike(cast: str) -> list[str]:
    """The lines, without what is another each time: keys, and the path that was there first."""
    lines = [re.sub(r"p2p[a-z2-7]{40}", "PEER", line) for line in lines_of(cast)]
    return [re.sub(r"(the path is|answering probes on) .*", r"\1", line) for line in lines]


def test_recording_is_what_the_commands_show(tmp_path: Path) -> None:
    with reserved_port() as port:
        recording = record(COMMANDS, port, tmp_path)
    assert alike(recording.as_cast()) == alike(CAST.read_text("utf-8"))
    assert alike(recording.as_cast())[-1] == "hello"
