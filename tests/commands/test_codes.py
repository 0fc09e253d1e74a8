"""Codes between shell tools: files, streams and ports, and what becomes of wrong ones."""

import re
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_p2p._commands import main as main_command
from trio_p2p._commands.codes.words import WORDS

from ..files.offers import files_in, make_tree
from ..kit.commands import (
    NOBODY,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    end_both,
    identity_option,
    run_main,
)
from ..kit.files import receive
from ..kit.forwarding import accept, dial, open_service

pytestmark = pytest.mark.once

CODE = re.compile(rb"run: trio-p2p [a-z ]+(?:PORT )?([0-9]{5}-[a-z]+-[a-z]+-[a-z]+)\n")


@contextmanager
def with_code(broker: BrokerTool, *arguments: str | Path) -> Generator[tuple[Tool, str]]:
    """A command that makes a code, and the code."""
    with Tool(*command("trio-p2p", *map(str, arguments)), broker=broker.address) as tool:
        while (found := CODE.search(tool.errors.readline())) is None:
            pass
        yield tool, found[1].decode()


def mistyped(code: str) -> str:
    number, *words = code.split("-")
    words[1] = WORDS[WORDS.index(words[1]) - 1]
    return "-".join([number, *words])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_tree(tmp_path / "source", {"notes.txt": b"hello\n"})
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def test_files(broker: BrokerTool, source: Path, target: Path, tmp_path: Path) -> None:
    other = identity_option(tmp_path)
    with (
        with_code(broker, "send", source / "notes.txt") as (sender, code),
        receive(broker, code.upper(), "--yes", "--into", target, other) as receiver,
    ):
        (code_of_receiver, _, _), (code_of_sender, _, errors) = end_both(receiver, sender)
    assert (code_of_receiver, code_of_sender) == (0, 0)
    assert "has all files, and their checksums are right" in errors
    assert files_in(target) == files_in(source)
    assert code not in "".join(broker.lines)
    assert code.partition("-")[0] in "".join(broker.lines)


def test_a_wrong_code_ends_it(broker: BrokerTool, source: Path, target: Path) -> None:
    with (
        with_code(broker, "send", source / "notes.txt") as (sender, code),
        receive(broker, mistyped(code), "--yes", "--into", target) as receiver,
    ):
        (exit_code, _, errors), (code_of_sender, _, of_sender) = end_both(receiver, sender)
    assert (exit_code, code_of_sender) == (1, 1)
    assert_sentence(errors, "the other side does not know this code: it was mistyped, it is over")
    assert " has tried a wrong code, so the code is over, and nothing was given to it" in of_sender
    with receive(broker, code, "--yes", "--into", target) as receiver:
        exit_code, _, errors = receiver.end()
    assert exit_code == 1
    assert_sentence(errors, f"nothing waits with the code {code.partition('-')[0]}-…: ")
    assert files_in(target) == {}


def test_a_stranger_without_the_code(broker: BrokerTool, source: Path, target: Path) -> None:
    """Who knows the number knows the UID."""
    with with_code(broker, "send", source / "notes.txt") as (sender, code):
        number = code.partition("-")[0]
        with receive(broker, f"trio-p2p code {number}", "--yes", "--into", target) as stranger:
            exit_code, _, errors = stranger.end()
        assert exit_code == 1
        assert "does not admit p2p" in errors
        with receive(
            broker, code, "--yes", "--into", target, "--expect", "p2p" + "a" * 40
        ) as receiver:
            assert receiver.end()[0] == 2  # that is no peer id
        with receive(broker, code, "--yes", "--into", target) as receiver:
            assert [ended[0] for ended in end_both(receiver, sender)] == [0, 0]


def test_streams(broker: BrokerTool) -> None:
    with (
        with_code(broker, "listen", "--code") as (receiver, code),
        connect(broker, code) as sender,
    ):
        (exit_code, output, _), of_sender = end_both(receiver, sender, b"x", b"y")
    assert (exit_code, output) == (0, b"y")
    assert of_sender == (0, b"x", "")


def test_streams_with_a_wrong_code(broker: BrokerTool) -> None:
    with (
        with_code(broker, "listen", "--code") as (receiver, code),
        connect(broker, mistyped(code)) as sender,
    ):
        (exit_code, output, errors), of_sender = end_both(receiver, sender, b"x", b"y")
    assert (exit_code, output, of_sender[0], of_sender[1]) == (1, b"", 1, b"")
    assert "has tried a wrong code" in errors


def test_many_streams(broker: BrokerTool) -> None:
    with with_code(broker, "listen", "--code", "--keep") as (receiver, code):
        for _ in range(2):  # of the same peer
            with connect(broker, code) as sender:
                assert sender.end(b"line\n")[0] == 0
            assert receiver.output.readline().endswith(b"line\n")
        assert receiver.signal(signal.SIGINT)[0] == 128 + signal.SIGINT


def test_ports(broker: BrokerTool) -> None:
    with (
        open_service() as (service, place),
        with_code(broker, "expose", "--code", place) as (
            _,
            code,
        ),
    ):
        with Tool(*command("trio-p2p", "ping", code, "--count=1"), broker=broker.address) as ping:
            assert ping.end()[0] == 0
        argv = command("trio-p2p", "forward", "0", code)
        with Tool(*argv, broker=broker.address) as forward:
            said = forward.errors.readline().decode()
            found = re.search(r"127\.0\.0\.1:([0-9]+)", said)
            assert found is not None, said
            with dial(int(found[1])) as ours, accept(service) as theirs:
                ours.sendall(b"hello")
                assert theirs.recv(5) == b"hello"


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["listen"], "under which UID? Name one, or say --code to have a code made"),
        (["listen", "u", "--code"], "a code stands in the place of a UID: leave --code or the UID"),
        (["listen", "--code", "--admit", "u"], "a code admits the peer that knows it: leave --co"),
        (["listen", "--code", "--raw"], "a raw connection proves nothing: name a UID, or leave"),
        (["expose", "u"], "which services? Give a PORT or HOST:PORT for each behind the UID"),
        (["connect", "12345-otter-otter-x"], "'12345-otter-otter-x' is no code: no code has the"),
        (["send", "--admit", "u", "/etc/hostname"], "a code admits the peer that knows it: leave"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, errors = run_main(main_command.main, [*arguments, "--broker", NOBODY], capsys)
    assert code == 2
    assert_sentence(errors, sentence)


@pytest.mark.parametrize(
    "arguments", [["listen", "--code"], ["connect", "12345-otter-otter-otter"]]
)
def test_without_the_package(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "spake2", None)
    code, errors = run_main(main_command.main, [*arguments, "--broker", NOBODY], capsys)
    assert code == 1
    assert "codes need the package spake2: install trio-p2p[tools], or agree on a UID" in errors
