"""Standard input and output are bridged to a peer's: real processes, joined by pipes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from ..kit.commands import MEBIBYTE, SECONDS, BrokerTool, assert_sentence, connect, end_both, listen

pytestmark = pytest.mark.once


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "one", tmp_path / "other"
    for path in paths:
        path.write_bytes(os.urandom(MEBIBYTE))
    return paths


@pytest.mark.parametrize(
    ("of_receiver", "of_sender"),
    [
        ([], []),
        (["--raw"], ["--raw"]),
        (["--only=relay"], []),
        ([], ["--only=relay"]),
        (["--no-relay"], []),
        ([], ["--no-relay"]),
        (["--raw", "--only=classic"], ["--raw", "--no-relay"]),
    ],
)
def test_both_ways(
    broker: BrokerTool, uid: str, of_receiver: list[str], of_sender: list[str]
) -> None:
    one, other = os.urandom(MEBIBYTE), os.urandom(MEBIBYTE)
    with listen(broker, uid, *of_receiver) as receiver, connect(broker, uid, *of_sender) as sender:
        assert end_both(receiver, sender, one, other) == [(0, other, ""), (0, one, "")]


def test_between_files(broker: BrokerTool, uid: str, two_files: tuple[Path, Path]) -> None:
    one, other = two_files
    copies = one.with_suffix(".copy"), other.with_suffix(".copy")
    with (
        one.open("rb") as one_in,
        other.open("rb") as other_in,
        copies[0].open("wb") as one_out,
        copies[1].open("wb") as other_out,
        listen(broker, uid, stdin=one_in, stdout=other_out) as receiver,
        connect(broker, uid, stdin=other_in, stdout=one_out) as sender,
    ):
        assert end_both(receiver, sender) == [(0, b"", ""), (0, b"", "")]
    assert [copy.read_bytes() for copy in copies] == [path.read_bytes() for path in two_files]


def test_nothing_both_ways(broker: BrokerTool, uid: str) -> None:
    nothing = subprocess.DEVNULL
    with listen(broker, uid, stdin=nothing) as receiver, connect(broker, uid) as sender:
        sender.input.close()
        assert receiver.end() == (0, b"", "")
        assert (sender.output.read(), sender.errors.read()) == (b"", b"")
        assert sender.process.wait(SECONDS) == 0


@pytest.mark.parametrize("receiver_waits", [False, True])
def test_open_standard_input_does_not_outlive_the_stream(
    broker: BrokerTool, uid: str, receiver_waits: bool
) -> None:
    """The other side has ended its way, and then aborts: there is nothing to type for."""
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        waiting, aborting = (receiver, sender) if receiver_waits else (sender, receiver)
        aborting.say(b"the last word")
        aborting.input.close()
        assert waiting.output.read() == b"the last word"
        aborting.process.send_signal(signal.SIGINT)
        assert waiting.process.wait(SECONDS) == 1
        code, output, errors = waiting.end()
        assert (code, output) == (1, b"")
        assert_sentence(errors, "the connection to the peer broke: ")


@pytest.mark.parametrize("receiver_ends_first", [False, True])
def test_end_of_one_way_leaves_the_other(
    broker: BrokerTool, uid: str, receiver_ends_first: bool
) -> None:
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        first, second = (receiver, sender) if receiver_ends_first else (sender, receiver)
        first.say(b"the last word")
        first.input.close()
        # The end of standard output is passed on, too: this returns.
        assert second.output.read() == b"the last word"
        for line in (b"there is more\n", b"and more\n"):
            second.say(line)
            assert first.output.readline() == line
        second.input.close()
        assert first.output.read() == b""
        for tool in (first, second):
            assert (tool.process.wait(SECONDS), tool.errors.read()) == (0, b"")
