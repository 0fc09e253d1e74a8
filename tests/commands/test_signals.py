"""Signals at every stage of every tool: its exit status, and what the other side makes of it.

Those that are not here are where the stage is made anyway: ``listen`` and ``connect`` in
``test_run.py``, ``listen --keep`` and ``--exec`` in ``test_keeping.py``, ``expose`` and ``forward``
with open connections in ``test_forward.py``, and the broker in ``test_broker_end.py``.
"""

import os
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeAlias

import attrs
import pytest

from trio_p2p._files.names import RESERVED_PREFIX

from ..kit.commands import (
    MEBIBYTE,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    listen,
    open_false_broker,
)
from ..kit.files import bytes_in, receive, send, wait_until
from ..kit.terminals import open_terminal, read_until

pytestmark = pytest.mark.once

BROKE = "the connection to the peer broke: "


@attrs.frozen
class Place:
    """Where a tool runs, and under which UID."""

    broker: BrokerTool
    uid: str
    directory: Path

    def start(self, *arguments: str) -> Tool:
        """A tool, for the UID if ``UID`` is among its arguments; it says what goes wrong only."""
        words = [self.uid if word == "UID" else word for word in arguments]
        verbosity = [] if "-v" in words else ["--quiet"]
        return Tool(*command("trio-p2p", *words, *verbosity), broker=self.broker.address)

    def start_receiver(self, *arguments: str) -> Tool:
        """A tool that has registered the UID."""
        with self.broker.expecting_registration(self.uid):
            return self.start(*arguments)


@pytest.fixture
def place(broker: BrokerTool, uid: str, tmp_path: Path) -> Place:
    return Place(broker, uid, tmp_path)


Stage: TypeAlias = Callable[[Place], AbstractContextManager[Tool]]
"""Brings a tool to a stage. When the block is left, the tool has ended by a signal."""


def each_signalled(stages: Mapping[str, object]) -> list[object]:
    """Each stage with an interrupt, which comes by another way, and with one of the others."""
    return [
        pytest.param(name, each, id=f"{name}-{each.name}")
        for number, name in enumerate(stages)
        for each in (signal.SIGINT, (signal.SIGTERM, signal.SIGHUP)[number % 2])
    ]


# Before the broker answers


BEFORE = {
    "listen": ["UID"],
    "expose": ["UID", "9"],
    "forward": ["0", "UID"],
    "send": ["/etc/hostname"],
    "receive": ["UID", "--yes"],
    "chat --listen": ["UID"],
    "chat": ["UID"],
    "ping": ["UID"],
    "speed": ["UID"],
    "answer": ["UID"],
    "doctor": [],
}


@pytest.mark.parametrize(("name", "number"), each_signalled(BEFORE))
def test_before_the_broker_answers(name: str, number: signal.Signals) -> None:
    with open_false_broker(hangs_up=False) as (address, asked):
        argv = command("trio-p2p", *name.split(), *BEFORE[name])
        with Tool(*argv, broker=address) as tool:
            assert asked.wait(SECONDS)
            assert tool.signal(number) == (128 + number, b"", "")


# Waiting for the peer, or for peers


WAITING = {
    "connect": ["UID", "--wait"],
    "expose": ["UID", "9"],
    "send": ["--uid", "UID", "/etc/hostname"],
    "receive": ["UID", "--yes", "--wait"],
    "chat --listen": ["UID"],
    "chat": ["UID", "--wait"],
    "ping": ["UID", "--wait"],
    "speed": ["UID", "--wait"],
    "answer": ["UID"],
    "doctor": ["UID", "--wait", "--json"],
}


@pytest.mark.parametrize(("name", "number"), each_signalled(WAITING))
def test_waiting_for_the_peer(place: Place, name: str, number: signal.Signals) -> None:
    with place.start(*name.split(), *WAITING[name]) as tool:
        place.broker.wait_for(f"uid={place.uid!r}")
        assert tool.signal(number) == (128 + number, b"", "")


# Connected


@contextmanager
def chatting(place: Place, *, is_listener: bool) -> Generator[Tool]:
    with (
        place.start_receiver("chat", "UID", "--listen", "--name=one") as one,
        place.start("chat", "UID", "--name=other") as other,
    ):
        for each, reader in ((one, other), (other, one)):
            each.say(b"hello\n")
            assert reader.output.readline().endswith(b": hello\n")
        yield one if is_listener else other
        left = other if is_listener else one
        assert left.process.wait(SECONDS) == 1
        assert_sentence(left.end()[2], BROKE)


@contextmanager
def moving_a_file(place: Place, *, is_giver: bool) -> Generator[Tool]:
    """One side is stopped in the midst, so that the other one stays there."""
    size = 512 * MEBIBYTE  # so that it is not over before it is stopped
    file, target = place.directory / "file", place.directory / "target"
    file.touch()
    os.truncate(file, size)
    target.mkdir()
    with (
        send(place.broker, place.uid, file, "--quiet") as giver,
        receive(place.broker, place.uid, "--yes", "--into", target, "--quiet") as taker,
    ):
        wait_until(lambda: bytes_in(target) > 0)
        signalled, other = (giver, taker) if is_giver else (taker, giver)
        other.process.send_signal(signal.SIGSTOP)
        assert [path.name[: len(RESERVED_PREFIX)] for path in target.iterdir()] == [RESERVED_PREFIX]
        yield signalled
        other.process.send_signal(signal.SIGCONT)
        # It waits for the same peer, and does not think that this is all.
        code, output, errors = other.signal(signal.SIGINT)
        assert (code, output) in ((130, b""), (1, b""))  # it may have heard of the end before
        assert errors.count("\n") == (code == 1)
    [partial_file] = target.iterdir()
    assert partial_file.name.startswith(RESERVED_PREFIX)
    assert partial_file.stat().st_size < size


@contextmanager
def pinging(place: Place) -> Generator[Tool]:
    """What it has measured so far is printed."""
    with (
        place.start_receiver("answer", "UID"),
        place.start("ping", "UID", "--interval=1000") as tool,
    ):
        assert tool.output.readline().startswith(b"connected to ")
        assert tool.output.readline().split()[:1] == [b"1"]
        yield tool


@contextmanager
def measuring(place: Place, *, is_answering: bool) -> Generator[Tool]:
    """The one that is signalled has a connection; it says all that happens."""
    verbose = "-v"
    with (
        place.start_receiver("answer", "UID", *[verbose] * is_answering) as answering,
        place.start("speed", "UID", "--seconds=30", *[verbose] * (not is_answering)) as speed,
    ):
        tool = answering if is_answering else speed
        while b"connection path: " not in (line := tool.errors.readline()):
            assert line
        yield tool
        if is_answering:
            assert speed.process.wait(SECONDS) == 1
            _, output, errors = speed.end()
            assert output == b""
            assert_sentence(errors, BROKE)


CONNECTED: dict[str, Stage] = {
    "chat --listen": partial(chatting, is_listener=True),
    "chat": partial(chatting, is_listener=False),
    "send": partial(moving_a_file, is_giver=True),
    "receive": partial(moving_a_file, is_giver=False),
    "ping": pinging,
    "speed": partial(measuring, is_answering=False),
    "answer": partial(measuring, is_answering=True),
}


@pytest.mark.parametrize(("name", "number"), each_signalled(CONNECTED))
def test_connected(place: Place, name: str, number: signal.Signals) -> None:
    with CONNECTED[name](place) as tool:
        code, output, errors = tool.signal(number)
        assert code == 128 + number
        if name == "ping":
            [summary] = output.splitlines()[:1]
            assert summary.startswith(b"1 round trip: at least ")
        else:
            assert output == b""
        if name in {"speed", "answer"}:  # which say all that happens
            assert "Traceback" not in errors
        else:
            assert errors == ""


# Saying farewell


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_listener", [False, True])
def test_saying_farewell(place: Place, is_listener: bool, number: signal.Signals) -> None:
    """Both ways have ended, and the other side does not say that it has all."""
    last_word = b"the last word"
    with listen(place.broker, place.uid) as receiver, connect(place.broker, place.uid) as sender:
        tool, other = (receiver, sender) if is_listener else (sender, receiver)
        tool.say(b"x")
        assert other.output.read(1) == b"x"
        other.input.close()
        assert tool.output.read() == b""
        other.process.send_signal(signal.SIGSTOP)
        tool.say(last_word)
        tool.input.close()
        tool.process.send_signal(number)
        assert tool.process.wait(SECONDS) == 128 + number
        assert tool.errors.read() == b""
        other.process.send_signal(signal.SIGCONT)
        output = other.output.read()
        code, errors = other.process.wait(SECONDS), other.errors.read().decode()
    if code:
        assert_sentence(errors, BROKE)
    assert (code, output == last_word) in {(0, True), (1, True), (1, False)}


# At a terminal


def start_at(place: Place, terminal: FileIO, *arguments: str) -> Tool:
    """A tool whose terminal this is, so that it gets what is typed, and hears of its end."""
    argv = ["setsid", "--ctty", *command("trio-p2p", *arguments)]
    address = place.broker.address
    return Tool(*argv, broker=address, stdin=terminal, stdout=terminal, stderr=terminal)


@pytest.mark.parametrize(("typed", "code"), [(b"\x03", 130), (b"", 129), (b"n\n", 1), (b"\x04", 1)])
def test_while_it_asks(place: Place, typed: bytes, code: int) -> None:
    """Ctrl-C, a terminal that is closed, no, and Ctrl-D: nothing is taken."""
    target = place.directory / "target"
    target.mkdir()
    with (
        send(place.broker, place.uid, "/etc/hostname", "--quiet") as sender,
        open_terminal() as (screen, streams),
        start_at(place, streams, "receive", place.uid, "--into", str(target)) as tool,
    ):
        streams.close()
        read_until(screen, b"Take them? [y/N] ")
        if typed:
            screen.write(typed)
        else:
            screen.close()
        ended = tool.process.wait(SECONDS)
        # A terminal that is closed is the end of standard input, too, which may be read first.
        assert ended == code or (not typed and ended == 1)
        assert list(target.iterdir()) == []
        assert sender.process.poll() is None


def test_interrupt_in_the_midst_of_a_line(place: Place) -> None:
    with (
        place.start_receiver("chat", "UID", "--listen", "--name=one") as other,
        open_terminal() as (screen, streams),
        start_at(place, streams, "chat", place.uid) as tool,
    ):
        streams.close()
        other.say(b"hello\n")
        read_until(screen, b"one: hello\r\n")
        screen.write(b"half a li")
        read_until(screen, b"half a li")
        screen.write(b"\x03")
        assert tool.process.wait(SECONDS) == 130
        assert other.process.wait(SECONDS) == 1
        _, output, errors = other.end()
        assert output == b""
        assert_sentence(errors, BROKE)


# The demo, which has nothing to tell to anyone


def processes_of_session(session: int) -> list[str]:
    """The processes that are left of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            name, _, fields = path.read_text().rpartition(")")
            if int(fields.split()[3]) == session:
                found.append(name)
    return found


def end_demo(number: signal.Signals, *options: str) -> None:
    with Tool("setsid", *command("trio-p2p", "demo", *options)) as tool:
        assert tool.output.readline().strip().startswith(b"broker ")
        code, _, errors = tool.signal(number)
        assert (code, errors) == (-number, "")
        assert processes_of_session(tool.process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo(number: signal.Signals) -> None:
    end_demo(number)


@pytest.mark.usefixtures("kernel_network")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_behind_nats(number: signal.Signals) -> None:
    end_demo(number, "--nat")
