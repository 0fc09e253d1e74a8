"""Standard streams of every sort: terminals, pipes that do not block, closed and full ones."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from trio_p2p._commands.parsers import make_parser
from trio_p2p._commands.standard_streams import printable

from ..kit.commands import (
    MEBIBYTE,
    NOBODY,
    SECONDS,
    BrokerTool,
    Ended,
    Tool,
    assert_sentence,
    command,
    connect,
    listen,
    peer_id,
)
from ..kit.forwarding import dial_when_there
from ..kit.loopback import reserved_port

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


def run_with(redirection: str, name: str, *arguments: str) -> Ended:
    """Run a tool whose standard streams a shell has redirected."""
    argv = command(name, *arguments)
    with Tool("sh", "-c", f'exec "$@" {redirection}', "sh", *argv, broker=NOBODY) as tool:
        return tool.end()


# Those that read or write a standard stream. What listens for others does not need any.
USING = {
    "listen": ["u"],
    "connect": ["u"],
    "send": ["/etc/hostname"],
    "receive": ["u", "--yes"],
    "chat": ["u"],
    "ping": ["u"],
    "speed": ["u"],
    "doctor": [],
    "demo": [],
    "id": [],
    "ticket": [],
    "peers": [],
    "completion": ["bash"],
}
DAEMONS = {"expose": ["u", "9"], "forward": ["0", "u"], "answer": ["u"]}


def test_there_is_a_line_for_each_command() -> None:
    [commands] = (
        action.choices
        for action in make_parser()._actions
        if action.dest == "command" and action.choices
    )
    assert set(commands) == set(USING) | set(DAEMONS)


@pytest.mark.parametrize(
    ("redirection", "sentence"),
    [
        ("<&-", "standard input is closed: redirect it to /dev/null"),
        (">&-", "standard output is closed: redirect it to /dev/null"),
    ],
)
@pytest.mark.parametrize("name", USING)
def test_closed_standard_stream(name: str, redirection: str, sentence: str) -> None:
    code, output, errors = run_with(redirection, "trio-p2p", name, *USING[name])
    assert (code, output) == (1, b"")
    assert_sentence(errors, sentence)


@pytest.mark.parametrize("name", DAEMONS)
def test_daemons_do_without_standard_streams(name: str) -> None:
    code, output, errors = run_with("<&- >&-", "trio-p2p", name, *DAEMONS[name])
    assert (code, output) == (1, b"")
    assert_sentence(errors, "no broker answers at 127.0.0.1:1 (Connection refused)")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["connect", "u"], 1), (["answer", "u"], 1), (["receive", "u"], 2), (["nonsense"], 2)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unusable_standard_error(arguments: list[str], status: int, redirection: str) -> None:
    """The exit status says it, and what was for standard error goes nowhere else."""
    assert run_with(redirection, "trio-p2p", *arguments) == (status, b"", "")


def test_an_identity_is_made_though_standard_error_cannot_be_written(tmp_path: Path) -> None:
    option = f"--identity={tmp_path / 'new.pem'}"
    code, output, _ = run_with("2>/dev/full", "trio-p2p", "id", option)
    assert (code, output.decode().strip()) == (0, peer_id(option))


# What prints, and ends.
PRINTING = [
    ("trio-p2p", "id"),
    ("trio-p2p", "ticket"),
    ("trio-p2p", "peers", "--json"),
    ("trio-p2p", "completion", "bash"),
    ("trio-p2p", "demo"),
    ("trio-p2p", "--version"),
    ("trio-p2p-broker", "--version"),
    ("trio-p2p-broker", "--check-config"),
]


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_full_standard_output(arguments: tuple[str, ...]) -> None:
    code, output, errors = run_with(">/dev/full", *arguments)
    assert (code, output) == (1, b"")
    text = "standard output cannot be written: No space left on device"
    assert_sentence(errors, text, arguments[0])


@pytest.mark.parametrize("arguments", PRINTING[5:8], ids=" ".join)
def test_closed_standard_output_of_what_prints_only(arguments: tuple[str, ...]) -> None:
    code, output, errors = run_with(">&-", *arguments)
    assert (code, output) == (1, b"")
    assert_sentence(errors, "standard output cannot be written: it is closed", arguments[0])


def test_a_token_that_cannot_be_printed(tmp_path: Path) -> None:
    """Its key is made, and serves the next time."""
    making = ("trio-p2p-broker", "token", f"--key={tmp_path / 'key.pem'}")
    code, output, errors = run_with(">/dev/full", *making)
    assert (code, output) == (1, b"")
    assert errors.splitlines() == [
        f"trio-p2p-broker token: made a new key in {tmp_path / 'key.pem'}",
        "trio-p2p-broker token: standard output cannot be written: No space left on device",
    ]
    code, output, _ = run_with("", *making)
    assert code == 0
    showing = ("trio-p2p-broker", "token", f"--show={output.decode().strip()}")
    assert run_with(">/dev/full", *showing)[0] == 1


def test_a_broker_serves_though_standard_error_cannot_be_written() -> None:
    with reserved_port() as port:
        argv = command("trio-p2p-broker", f"--port={port}", "--host=127.0.0.1", "--no-probes")
        with Tool("sh", "-c", 'exec "$@" 2>/dev/full', "sh", *argv) as tool:
            with dial_when_there(port):
                pass
            assert tool.signal(signal.SIGINT) == (0, b"", "")


@pytest.fixture(scope="module")
def answering(broker: BrokerTool) -> Iterator[str]:
    """The UID of a peer that answers."""
    argv = command("trio-p2p", "answer", "answering", "--quiet")
    with broker.expecting_registration("answering"):
        tool = Tool(*argv, broker=broker.address)
    with tool:
        yield "answering"


UNWRITABLE = {
    True: "standard output cannot be written: No space left on device",
    False: "standard output is closed: its reader has ended",
}


@contextmanager
def open_unwritable(*, is_full: bool) -> Iterator[IO[bytes]]:
    """A full disk, or a pipe without a reader."""
    if is_full:
        with Path("/dev/full").open("wb") as file:
            yield file
        return
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    with os.fdopen(writing_end, "wb") as file:
        yield file


@pytest.mark.parametrize("is_full", UNWRITABLE)
@pytest.mark.parametrize(
    "arguments",
    [["ping"], ["ping", "--json", "--count=1"], ["speed", "--seconds=0.01"], ["doctor"]],
    ids=" ".join,
)
def test_measures_that_cannot_be_written(
    broker: BrokerTool, answering: str, arguments: list[str], is_full: bool
) -> None:
    """They end with the first line that cannot be written, and say why, once."""
    argv = command("trio-p2p", *arguments, answering)
    with (
        open_unwritable(is_full=is_full) as stdout,
        Tool(*argv, broker=broker.address, stdout=stdout) as tool,
    ):
        code, output, errors = tool.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, UNWRITABLE[is_full])


@pytest.mark.parametrize("is_full", UNWRITABLE)
@pytest.mark.parametrize(
    ("listening", "connecting"),
    [(["chat", "--listen"], ["chat"]), (["listen", "--keep"], ["connect"])],
    ids=["chat", "listen --keep"],
)
def test_words_that_cannot_be_written(
    broker: BrokerTool, uid: str, listening: list[str], connecting: list[str], is_full: bool
) -> None:
    """The side that cannot show them ends, and the other one learns that it did not end well."""
    with open_unwritable(is_full=is_full) as stdout:
        with broker.expecting_registration(uid):
            argv = command("trio-p2p", *listening, uid, "--quiet")
            receiver = Tool(*argv, broker=broker.address, stdout=stdout)
        argv = command("trio-p2p", *connecting, uid, "--quiet")
        with receiver, Tool(*argv, broker=broker.address) as sender:
            sender.say(b"hello\n")
            assert receiver.process.wait(SECONDS) == 1
            assert_sentence(receiver.end()[2], UNWRITABLE[is_full])
            assert sender.process.wait(SECONDS) == 1
            assert_sentence(sender.end()[2], "the connection to the peer broke: ")
