"""Standard streams of every sort: terminals, pipes that do not block, closed and full ones."""

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from trio_p2p._commands.standard_streams import printable

from ..kit.commands import (
    MEBIBYTE,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    listen,
    peer_id,
)

pytestmark = pytest.mark.once


def test_in_a_terminal(broker: BrokerTool, uid: str) -> None:
    ours, terminal = os.openpty()
    with (
        os.fdopen(ours, "rb") as screen,
        os.fdopen(terminal, "rb") as streams,
        listen(broker, uid, quiet=False, stdin=streams, stdout=streams, stderr=streams) as receiver,
    ):
        me = peer_id()
        assert screen.readline() == f"trio-p2p: waiting for a peer as {uid!r}; we are\r\n".encode()
        assert screen.readline() == f"  {me}\r\n".encode()
        with connect(broker, uid) as sender:
            assert screen.readline() == f"trio-p2p: connected to {me}\r\n".encode()
            sender.say(b"hello\n")
            assert screen.readline() == b"hello\r\n"
            os.write(ours, b"hi\n")
            assert sender.output.readline() == b"hi\n"
            # Others write to the terminal, too, and do not expect to be refused.
            assert os.get_blocking(terminal)
            os.write(ours, b"\x04")
            assert sender.end() == (0, b"", "")
        assert receiver.process.wait(SECONDS) == 0
        assert os.get_blocking(terminal)


def test_non_blocking_pipes(broker: BrokerTool, uid: str) -> None:
    """Whoever made a pipe may have made it non-blocking."""
    data = os.urandom(MEBIBYTE)
    (from_us, us), (them, to_them) = os.pipe(), os.pipe()
    os.set_blocking(from_us, False)
    os.set_blocking(to_them, False)
    with (
        os.fdopen(us, "wb", buffering=0) as input_pipe,
        os.fdopen(them, "rb", buffering=0) as output_pipe,
        os.fdopen(from_us, "rb") as stdin,
        os.fdopen(to_them, "wb") as stdout,
        listen(broker, uid, stdin=stdin, stdout=stdout) as receiver,
    ):
        stdin.close()
        stdout.close()
        with connect(broker, uid) as sender:
            sender.say(b"x")
            assert output_pipe.read(1) == b"x"
            input_pipe.write(b"y")
            assert sender.output.read(1) == b"y"
            writer = threading.Thread(target=sender.say, args=[data])
            writer.start()
            received = b""
            while len(received) < len(data):
                received += output_pipe.read(len(data))
            writer.join()
            assert received == data
            input_pipe.close()
            assert sender.end() == (0, b"", "")
        assert receiver.end() == (0, b"", "")


def test_nobody_reads(broker: BrokerTool, uid: str) -> None:
    reading_end, writing_end = os.pipe()
    with (
        Path("/dev/zero").open("rb") as endless,
        listen(broker, uid, stdin=endless) as receiver,
        os.fdopen(writing_end, "wb") as stdout,
        connect(broker, uid, stdout=stdout) as sender,
    ):
        stdout.close()
        assert len(os.read(reading_end, 1)) == 1
        os.close(reading_end)
        code, _, errors = sender.end()
        assert code == 1
        assert_sentence(errors, "standard output is closed: its reader has ended")
        code, _, errors = receiver.end()
        assert code == 1
        assert_sentence(errors, "the connection to the peer broke: ")


def test_unusable_standard_streams(broker: BrokerTool, uid: str) -> None:
    with (
        Path(os.devnull).open("wb") as write_only,
        listen(broker, uid, stdin=write_only) as receiver,
        connect(broker, uid),
    ):
        code, _, errors = receiver.end()
        assert code == 1
        assert_sentence(errors, "standard input cannot be read: Bad file descriptor")
    with (
        Path("/dev/full").open("wb") as full,
        listen(broker, uid) as receiver,
        connect(broker, uid, stdout=full) as sender,
    ):
        receiver.say(b"x")
        code, _, errors = sender.end()
        assert code == 1
        assert_sentence(errors, "standard output cannot be written: No space left on device")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "?ber 192.0.2.1:1 -> 192.0.2.2:2 - up"), ("latin-1", None), ("utf-8", None)],
)
def test_what_standard_output_cannot_show_is_written_otherwise(
    encoding: str, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "über 192.0.2.1:1 → 192.0.2.2:2 – up"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    if encoding == "latin-1":
        shown = text.replace("→", "->").replace("–", "-")
    assert printable(text) == (shown or text)
    printable(text).encode(encoding)


@pytest.mark.parametrize("redirection", ["<&-", ">&-"])
def test_closed_standard_stream(broker: BrokerTool, uid: str, redirection: str) -> None:
    argv = command("trio-p2p", "connect", uid)
    with Tool("sh", "-c", f'exec "$@" {redirection}', "sh", *argv, broker=broker.address) as tool:
        code, output, errors = tool.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "standard input and output are closed: redirect them to /dev/null")


def test_closed_standard_error(broker: BrokerTool, uid: str) -> None:
    argv = command("trio-p2p", "connect", uid)
    with Tool("sh", "-c", 'exec "$@" 2>&-', "sh", *argv, broker=broker.address) as tool:
        assert tool.end() == (1, b"", "")
