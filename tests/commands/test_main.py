"""The shell tools, as a user runs them: real processes, joined by pipes."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from trio_p2p import Identity, Outcome, P2PError, PeerId, Technique
from trio_p2p._commands import broker as broker_command, main as main_command
from trio_p2p._commands.run import CommandError, run_command
from trio_p2p._wire.messages import Hello

from ..kit.commands import SECONDS, BrokerTool, Tool, command, end_both, open_broker
from ..kit.lab import Answer, KernelNetwork, Nat, popen
from ..kit.loopback import reserved_port
from ..kit.raw_client import RawClient

MEBIBYTE = 1_048_576
STOPPING = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerTool]:
    with open_broker() as tool:
        yield tool


@pytest.fixture(autouse=True)
def configuration(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the tools of this test keep what they remember: the directory is made if need be."""
    home = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home / "trio_p2p"


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", request.node.name)


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "one", tmp_path / "other"
    for path in paths:
        path.write_bytes(os.urandom(MEBIBYTE))
    return paths


def listen(broker: BrokerTool, uid: str, *options: str, **streams: int | IO[Any]) -> Tool:
    """A receiver, registered."""
    argv = command("trio-p2p", "listen", uid, *options)
    with broker.expecting_registration(uid):
        return Tool(*argv, broker=broker.address, **streams)


def connect(broker: BrokerTool, uid: str, *options: str, **streams: int | IO[Any]) -> Tool:
    argv = command("trio-p2p", "connect", uid, *options)
    return Tool(*argv, broker=broker.address, **streams)


def identity_option(directory: Path) -> str:
    """The option for an identity that is not the user's own."""
    file = directory / "other.pem"
    Identity.generate().save(file)
    return f"--identity={file}"


def peer_id(*options: str) -> str:
    """What ``trio-p2p id`` prints."""
    with Tool(*command("trio-p2p", "id", *options)) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    return output.decode().removesuffix("\n")


def assert_sentence(errors: str, start: str, program: str = "trio-p2p") -> None:
    """One line, and it is what the tool has to say."""
    assert errors.startswith(f"{program}: {start}"), errors
    assert errors.count("\n") == 1, errors
    assert errors.endswith("\n")


# Bytes.


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


def test_in_a_terminal(broker: BrokerTool, uid: str) -> None:
    ours, terminal = os.openpty()
    with (
        os.fdopen(ours, "rb") as screen,
        os.fdopen(terminal, "rb") as streams,
        listen(broker, uid, stdin=streams, stdout=streams, stderr=streams) as receiver,
    ):
        me = peer_id()
        waiting = f"trio-p2p: waiting for a peer as {uid!r}; we are {me}\r\n"
        assert screen.readline() == waiting.encode()
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


def test_one_peer_only(broker: BrokerTool, uid: str) -> None:
    """The receiver stays registered, so that its peer finds other paths; nobody else gets in."""
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        sender.say(b"x")
        assert receiver.output.read(1) == b"x"
        with connect(broker, uid) as late:
            code, _, errors = late.end(b"z")
            assert code == 1
            assert_sentence(errors, "the connection to the peer broke: the receiver does not admit")
        (code, output, errors), of_sender = end_both(receiver, sender, b"y", b"z")
    assert (code, output) == (0, b"z")
    refusal = f"trio-p2p: an introduction to {uid!r} failed: the receiver does not admit p2p"
    assert all(line.startswith(refusal) for line in errors.splitlines())
    assert of_sender == (0, b"y", "")


def test_raw_receiver_leaves_the_uid_to_others(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "--raw") as receiver, connect(broker, uid, "--raw") as sender:
        sender.say(b"x")
        assert receiver.output.read(1) == b"x"
        with connect(broker, uid, "--raw") as late:
            code, _, errors = late.end()
            assert code == 1
            assert_sentence(errors, "no receiver is registered under this UID")
        assert end_both(receiver, sender, b"y", b"z") == [(0, b"z", ""), (0, b"y", "")]


def test_without_a_relay(uid: str) -> None:
    with open_broker("--no-relay") as broker:
        with listen(broker, uid) as receiver, connect(broker, uid) as sender:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        with listen(broker, uid), connect(broker, uid, "--only=relay") as sender:
            code, _, errors = sender.end()
            assert code == 1
            assert_sentence(errors, "the broker does not relay this: ")


def test_limits_of_the_relay(uid: str) -> None:
    limits = ["--relay-rate=1000000", "--relay-bytes=100000", "--relay-idle=2.5"]
    with (
        open_broker(*limits) as broker,
        listen(broker, uid, "--grace=0") as receiver,
        connect(broker, uid, "--only=relay", "--grace=0") as sender,
    ):
        sender.say(bytes(500_000))
        for tool in (receiver, sender):
            code, _, errors = tool.end()
            assert code == 1
            assert "100000 bytes" in errors


def test_broker_by_option(broker: BrokerTool, uid: str) -> None:
    elsewhere = "127.0.0.1:1"
    option = ["--broker", broker.address]
    with broker.expecting_registration(uid):
        receiver = Tool(*command("trio-p2p", "listen", uid, *option), broker=elsewhere)
    sender = Tool(*command("trio-p2p", "connect", uid, *option), broker=elsewhere)
    with receiver, sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


# What goes wrong.


def run_main(
    main: Any, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The exit code of a command in this process, and what it wrote to standard error."""
    code: Any
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


@pytest.fixture
def started_by_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/trio-p2p"])
    monkeypatch.delenv("TRIO_P2P_BROKER", raising=False)


NOBODY = "127.0.0.1:1"


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
@pytest.mark.parametrize(
    ("uid", "options", "sentence"),
    [
        ("", ["--broker", NOBODY], "'' is no UID: "),
        ("u" * 129, ["--broker", NOBODY], "'uuu"),
        ("\udcff", ["--broker", NOBODY], "'\\udcff' is no UID: "),
        ("uid", ["--broker", "example.org"], "'example.org' is no broker: give HOST:PORT"),
        ("uid", ["--broker", "example.org:x"], "'example.org:x' is no broker: give HOST:PORT"),
        ("uid", ["--broker", ""], "'' is no broker: give HOST:PORT"),
        ("uid", ["--broker", NOBODY], f"no broker answers at {NOBODY} ("),
        ("uid", ["--broker", "nowhere.invalid:1"], "the broker's host 'nowhere.invalid' cannot"),
        ("uid", [], "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER"),
    ],
)
def test_wrong_arguments(
    subcommand: str,
    uid: str,
    options: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, errors = run_main(main_command.main, [subcommand, uid, *options], capsys)
    assert code == 1
    assert_sentence(errors, sentence)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (main_command.main, []),
        (main_command.main, ["call"]),
        (main_command.main, ["connect"]),
        (main_command.main, ["connect", "uid", "--only", "slow"]),
        (main_command.main, ["connect", "uid", "--grace", "long"]),
        (main_command.main, ["listen", "uid", "--report", "file"]),
        (main_command.main, ["listen", "uid", "--expect", "peer"]),
        (main_command.main, ["id", "uid"]),
        (broker_command.main, ["--port", "65536"]),
        (broker_command.main, ["--port", "-1"]),
        (broker_command.main, ["--port", "http"]),
        (broker_command.main, ["--relay-rate", "0"]),
        (broker_command.main, ["--relay-bytes", "1 MB"]),
        (broker_command.main, ["--relay-idle", "0"]),
        (broker_command.main, ["--relay-idle", "long"]),
    ],
)
def test_wrong_usage(main: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main, arguments, capsys)
    assert code == 2
    assert errors.startswith("usage: trio-p2p")
    assert "error: " in errors


WITHOUT_SESSION = "a raw connection proves nobody's identity, and does not outlive its path: leave "
NO_WAY = " leave no way to a peer: leave one of them out"


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["connect", "--raw", "--identity", "file"], f"{WITHOUT_SESSION}--identity out, or --raw"),
        (["connect", "--raw", "--expect", "peer"], f"{WITHOUT_SESSION}--expect out, or --raw"),
        (["connect", "--raw", "--grace", "0"], f"{WITHOUT_SESSION}--grace out, or --raw"),
        (["listen", "--raw", "--grace", "0"], f"{WITHOUT_SESSION}--grace out, or --raw"),
        (["connect", "--raw", "--only", "relay"], f"--raw and --only relay{NO_WAY}"),
        (["listen", "--no-relay", "--only", "relay"], f"--no-relay and --only relay{NO_WAY}"),
        (["connect", "--grace", "-1"], "-1.0 is no time: give seconds, 0 or more"),
        (["connect", "--expect", "peer"], "'peer' is not a peer id, which is 'p2p' and 40 more"),
        (["connect", "--expect", ""], "'' is not a peer id, which is 'p2p' and 40 more"),
    ],
)
def test_wrong_combinations(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = arguments
    code, errors = run_main(main_command.main, [command, "u", "--broker", NOBODY, *options], capsys)
    assert code == 1
    assert_sentence(errors, sentence)


@pytest.mark.parametrize("raw_one", ["listen", "connect"])
def test_only_one_of_them_raw(broker: BrokerTool, uid: str, raw_one: str) -> None:
    options = {"listen": [], "connect": [], raw_one: ["--raw"]}
    with (
        listen(broker, uid, *options["listen"]),
        connect(broker, uid, *options["connect"]) as sender,
    ):
        code, output, errors = sender.end(b"secret")
    assert (code, output) == (1, b"")
    assert_sentence(errors, "the sender wants a")


def test_unknown_uid(broker: BrokerTool, uid: str) -> None:
    with connect(broker, uid) as sender:
        code, output, errors = sender.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "no receiver is registered under this UID: check its spelling")


def test_taken_uid(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    other = identity_option(tmp_path)
    with listen(broker, uid), listen(broker, uid, other) as second:
        code, output, errors = second.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "another receiver is registered under this UID: choose another")


def test_uid_taken_over_by_the_same_identity(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid) as first, listen(broker, uid) as second:
        code, output, errors = first.end()
        assert (code, output) == (1, b"")
        assert errors.splitlines()[-1].endswith("registered again by the same identity elsewhere)")
        with connect(broker, uid) as sender:
            assert end_both(second, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


@contextmanager
def open_false_broker(*, hangs_up: bool) -> Iterator[tuple[str, threading.Event]]:
    """A broker that never answers: its address, and whether somebody has asked."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # which says that this is the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1024)
                        asked.set()
                        while not hangs_up and connection.recv(1024):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
def test_broker_lost(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_false_broker(hangs_up=True) as (address, _):
        code, errors = run_main(main_command.main, [subcommand, "u", "--broker", address], capsys)
    assert code == 1
    assert_sentence(errors, f"the connection to the broker at {address} was lost (")


def test_receiver_finds_broker_again(uid: str) -> None:
    with ExitStack() as stack:
        reopen = partial(open_broker, "--no-probes", port=str(stack.enter_context(reserved_port())))
        broker = stack.enter_context(reopen())
        receiver = stack.enter_context(listen(broker, uid))
        assert broker.stop() == 0
        assert receiver.errors.readline().startswith(f"trio-p2p: {uid!r} is not".encode())
        with reopen() as successor:
            successor.wait_for(f"Register(uid={uid!r})")
            with connect(successor, uid) as sender:
                (code, output, errors), of_sender = end_both(receiver, sender, b"x", b"y")
    assert (code, output) == (0, b"y")
    assert of_sender == (0, b"x", "")
    assert "Traceback" not in errors


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
        assert_sentence(errors, "nobody reads the standard output any more")
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


@pytest.mark.parametrize("options", [["--raw"], ["--grace=0.1"]])
def test_killed_peer(broker: BrokerTool, uid: str, options: list[str]) -> None:
    of_receiver = [option for option in options if option == "--raw"]
    with (
        Path("/dev/zero").open("rb") as endless,
        listen(broker, uid, *of_receiver) as receiver,
        connect(broker, uid, *options, stdin=endless) as sender,
    ):
        assert receiver.output.read(1) == b"\0"
        receiver.process.kill()
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, "the connection to the peer broke: ")


# Identities.


def test_id(configuration: Path, tmp_path: Path) -> None:
    mine = peer_id()
    assert str(PeerId.parse(mine)) == mine
    assert peer_id() == mine
    assert str(Identity.load(configuration / "identity.pem").peer_id) == mine
    other = identity_option(tmp_path)
    assert peer_id(other) == peer_id(other) != mine


def test_id_of_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "new.pem"
    with Tool(*command("trio-p2p", "id", "--identity", str(file))) as tool:
        code, output, errors = tool.end()
    assert code == 0
    assert_sentence(errors, f"made a new identity, {output.decode().strip()}, in {file}")
    assert peer_id("--identity", str(file)) == output.decode().strip()


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("arguments", [["id"], ["listen", "u"], ["connect", "u"]])
def test_identity_that_others_can_read(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRIO_P2P_BROKER", NOBODY)
    file = tmp_path / "other.pem"
    option = identity_option(tmp_path)
    file.chmod(0o640)
    code, errors = run_main(main_command.main, [*arguments, option], capsys)
    assert code == 1
    assert_sentence(errors, f"the identity {file} may be read or written by others")
    assert f"run chmod 600 {file}" in errors


def test_expected_peer(broker: BrokerTool, uid: str, configuration: Path) -> None:
    with (
        listen(broker, uid) as receiver,
        connect(broker, uid, "--expect", peer_id()) as sender,
    ):
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    # It was for this run only.
    assert not (configuration / "known_peers").exists()


def test_unexpected_peer(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    expected = peer_id(identity_option(tmp_path))
    with listen(broker, uid) as receiver:
        with connect(broker, uid, "--expect", expected) as sender:
            code, output, errors = sender.end(b"secret")
        assert (code, output) == (1, b"")
        assert_sentence(errors, f"{expected} was to be connected to, but the broker gave ")
        assert peer_id() in errors
        # It still waits for a peer.
        with connect(broker, uid) as sender:
            (code, output, _), of_sender = end_both(receiver, sender, b"x", b"y")
    assert (code, output) == (0, b"y")
    assert of_sender == (0, b"x", "")


def test_peer_id_as_uid(broker: BrokerTool, configuration: Path) -> None:
    uid = peer_id()
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    assert not (configuration / "known_peers").exists()


@pytest.mark.usefixtures("started_by_user")
def test_peer_id_of_somebody_else_as_uid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = peer_id(identity_option(tmp_path))
    code, errors = run_main(main_command.main, ["listen", other, "--broker", NOBODY], capsys)
    assert code == 1
    assert_sentence(errors, f"{other} is the peer id of another identity: ")


def test_peer_is_remembered(
    broker: BrokerTool, uid: str, configuration: Path, tmp_path: Path
) -> None:
    known_peers = configuration / "known_peers"
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
    line = json.loads(known_peers.read_text())
    assert line == [broker.address, uid, peer_id()]
    report = tmp_path / "report.json"
    with (
        listen(broker, uid, identity_option(tmp_path)),
        connect(broker, uid, "--report", str(report)) as sender,
    ):
        code, output, errors = sender.end(b"secret")
    assert (code, output) == (1, b"")
    assert_sentence(errors, f"the peer behind {uid!r} at {broker.address} is not the one it was: ")
    assert "Somebody may be impersonating it. " in errors
    assert errors.endswith(
        f'remove the line with "{uid}" and {peer_id()} from {known_peers} and connect again\n'
    )
    assert json.loads(known_peers.read_text()) == line
    assert read_report(report)["path"] is None


def test_corrupt_known_peers(broker: BrokerTool, uid: str, configuration: Path) -> None:
    configuration.mkdir()
    (configuration / "known_peers").write_text("nonsense\n")
    with listen(broker, uid), connect(broker, uid) as sender:
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, f"line 1 of {configuration / 'known_peers'} is corrupt: remove it")


# Reports.


NOTHING: dict[str, Any] = {
    "path": None,
    "technique": None,
    "seconds": None,
    "peer_id": None,
    "path_changes": [],
    "attempts": [],
}
ENDS = {"technique", "local", "remote"}


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert list(report) == list(NOTHING)
    for one in (*report["attempts"], *report["path_changes"]):
        assert one["technique"] in {*Technique, None}
        assert 0 <= one["seconds"] < SECONDS
        for endpoint in (one["local"], one["remote"]):
            assert endpoint is None or re.fullmatch(r"[0-9.]+:[0-9]+", endpoint)
    for attempt in report["attempts"]:
        assert attempt.keys() == {*ENDS, "route", "outcome", "seconds"}
        assert attempt["outcome"] in set(Outcome)
    assert_path_changes(report)
    return report


def assert_path_changes(report: dict[str, Any]) -> None:
    changes = report["path_changes"]
    if report["path"] is None:
        assert changes == []
        return
    assert {"path": changes[0]["path"], "technique": changes[0]["technique"]}.items() <= (
        report.items()
    )
    assert report["seconds"] <= changes[0]["seconds"]
    times = [change["seconds"] for change in changes]
    assert times == sorted(times)
    for change in changes:
        assert change.keys() == {*ENDS, "path", "seconds"}
        assert (change["path"] == "relay") == (change["technique"] == "relay")
        assert len({change["path"] is None, *(change[end] is None for end in ENDS)}) == 1


@pytest.mark.parametrize(
    ("options", "technique"),
    [
        ([["--raw"], ["--raw"]], "fast"),
        ([["--no-relay"], ["--no-relay"]], "fast"),
        ([[], ["--only=classic"]], "classic"),
        ([["--only=classic", "--raw"], ["--raw"]], "classic"),
        ([["--only=classic", "--only=fast"], ["--only=fast"]], "fast"),
        ([["--only=fast", "--only=classic"], ["--only=classic", "--only=fast"]], "classic"),
        ([[], ["--only=relay"]], "relay"),
    ],
)
def test_report(
    broker: BrokerTool, uid: str, tmp_path: Path, options: list[list[str]], technique: str
) -> None:
    file = tmp_path / "report.json"
    of_receiver, of_sender = options[0], [*options[1], "--report", str(file)]
    with listen(broker, uid, *of_receiver) as receiver, connect(broker, uid, *of_sender) as sender:
        assert end_both(receiver, sender) == [(0, b"", ""), (0, b"", "")]
    report = read_report(file)
    assert report["path"] == ("relay" if technique == "relay" else "direct")
    assert report["technique"] == technique
    assert report["peer_id"] == (None if "--raw" in of_sender else peer_id())
    connected = [one for one in report["attempts"] if one["outcome"] == "connected"]
    assert [one["technique"] for one in connected] == [technique]
    assert 0 < connected[0]["seconds"] <= report["seconds"] < SECONDS
    assert len(report["path_changes"]) == 1
    for end in ENDS:
        assert report["path_changes"][0][end] == connected[0][end]


def test_report_of_paths(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    """However it began, the stream gets to a direct path; then it loses that."""
    file = tmp_path / "report.json"
    options = ["--only=classic", "--only=relay", "--grace=0.1", "-v", "--report", str(file)]
    with listen(broker, uid) as receiver, connect(broker, uid, *options) as sender:
        for line in sender.errors:
            if b"a stream's path is direct" in line:
                break
        time.sleep(0.2)  # it is logged a moment before it is noted for the report
        receiver.process.kill()
        code, _, errors = sender.end()
    assert code == 1
    assert "the connection to the peer broke: the stream had no path for 0.1 seconds" in errors
    report = read_report(file)
    assert report["peer_id"] == peer_id()
    paths = [change["path"] for change in report["path_changes"]]
    direct = paths.index("direct")
    assert paths[:direct] in ([], ["relay"])
    # If there was a relayed path in reserve, it is tried until the broker has noticed, too.
    assert [path for path in paths[direct + 1 :] if path is not None] in ([], ["relay"])
    assert paths[-1] is None


def test_report_when_techniques_do_not_meet(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with (
        listen(broker, uid, "--only", "fast"),
        connect(broker, uid, "--only", "classic", "--report", str(file)) as sender,
    ):
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, f"no connection to {uid!r} came of ")
    report = read_report(file)
    attempts = report["attempts"]
    assert report == {**NOTHING, "attempts": attempts}
    for attempt in attempts:
        del attempt["seconds"]
        assert attempt == {
            "technique": "classic",
            "local": None,
            "remote": None,
            "route": "reflexive",
            "outcome": "not introduced",
        }


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("options", [[], ["--broker", NOBODY]])
def test_report_of_failure(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    arguments = ["connect", "uid", *options, "--report", str(file)]
    code, _ = run_main(main_command.main, arguments, capsys)
    assert code == 1
    report = read_report(file)
    assert report == {**NOTHING, "attempts": report["attempts"]}
    assert all(attempt["outcome"] == "not introduced" for attempt in report["attempts"])


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/report.json", "No such file or directory"),
        (".", "Is a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_unwritable_report(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    arguments = ["connect", "uid", "--broker", NOBODY, "--report", str(file)]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 1
    assert_sentence(errors, f"the report {file} cannot be written: {reason}")


def test_report_that_turns_out_unwritable(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid) as receiver, connect(broker, uid, "--report", "/dev/full") as sender:
        of_receiver, (code, output, errors) = end_both(receiver, sender, b"x", b"y")
    assert of_receiver == (0, b"y", "")
    assert (code, output) == (1, b"x")
    assert_sentence(errors, "the report /dev/full cannot be written: No space left on device")


# Signals.


@pytest.mark.parametrize("number", STOPPING)
def test_signal_while_waiting_for_a_peer(
    broker: BrokerTool, uid: str, number: signal.Signals
) -> None:
    with listen(broker, uid) as receiver:
        assert receiver.signal(number) == (128 + number, b"", "")
    # The UID is free at once.
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("options", [["--raw"], []])
def test_signal_while_connected(
    broker: BrokerTool, uid: str, tmp_path: Path, options: list[str], number: signal.Signals
) -> None:
    file = tmp_path / "report.json"
    with (
        listen(broker, uid, *options) as receiver,
        connect(broker, uid, *options, "--report", str(file)) as sender,
    ):
        for one, other in ((sender, receiver), (receiver, sender)):
            one.say(b"x")
            assert other.output.read(1) == b"x"
        assert sender.signal(number) == (128 + number, b"", "")
        code, output, errors = receiver.end(b"")
    assert output == b""
    if options:
        assert (code, errors) == (0, "")
    else:  # a session tells the end from an interruption
        assert code == 1
        assert_sentence(errors, "the connection to the peer broke: the other side ")
    assert read_report(file)["path"] is not None


@pytest.mark.parametrize("number", STOPPING)
def test_signal_while_connecting(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "report.json"
    with open_false_broker(hangs_up=False) as (address, asked):
        argv = command("trio-p2p", "connect", "uid", "--report", str(file))
        with Tool(*argv, broker=address) as sender:
            assert asked.wait(SECONDS)
            assert sender.signal(number) == (128 + number, b"", "")
    assert read_report(file)["path"] is None


@pytest.mark.parametrize("number", STOPPING)
def test_signal_to_the_broker(uid: str, number: signal.Signals) -> None:
    with open_broker() as broker, listen(broker, uid):
        assert broker.stop(number) == 0
        assert not any("Traceback" in line for line in broker.lines)


async def fail_with_group() -> None:
    await trio.lowlevel.checkpoint()
    raise BaseExceptionGroup("", [ExceptionGroup("", [CommandError("one"), P2PError("two")])])


async def interrupt() -> None:
    await trio.lowlevel.checkpoint()
    raise KeyboardInterrupt


async def stumble() -> None:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


@pytest.mark.usefixtures("started_by_user")
def test_run_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fail_with_group, verbose=False) == 1
    assert capsys.readouterr().err == "trio-p2p: one\n"
    assert run_command(interrupt, verbose=False) == 130
    assert capsys.readouterr().err == ""
    # A bug is not a sentence for users.
    with pytest.RaisesGroup(ZeroDivisionError):
        run_command(stumble, verbose=False)


# The broker, and what is said.


def test_port_in_use(broker: BrokerTool) -> None:
    port = broker.address.rpartition(":")[2]
    argv = command("trio-p2p-broker", "--host", "127.0.0.1", "--port", port)
    with Tool(*argv) as second:
        code, output, errors = second.end()
    assert (code, output) == (1, b"")
    assert_sentence(
        errors,
        f"cannot listen on port {port} or {int(port) + 1} of 127.0.0.1 (Address already in use): "
        "choose others",
        program="trio-p2p-broker",
    )


def test_quiet_broker_on_all_interfaces() -> None:
    with Tool(*command("trio-p2p-broker", "--port", "0")) as broker:
        line = broker.errors.readline().decode()
        assert re.fullmatch(r"trio-p2p-broker: listening on (0\.0\.0\.0|\[::\]):\d+\n", line)
        # At most one more line, for the other address family; and the same for probes.
        for _ in range(2):
            if "answering" not in line:
                line = broker.errors.readline().decode()
        assert re.fullmatch(r"trio-p2p-broker: answering probes on \S+:\d+\n", line)
        code, output, errors = broker.signal(signal.SIGTERM)
    assert (code, output) == (0, b"")
    assert re.fullmatch(r"(trio-p2p-broker: answering probes on \S+\n)?", errors)


def greeting_of(*options: str) -> Hello:
    """How a broker with these options greets."""

    async def greet(address: str) -> Hello:
        host, _, port = address.rpartition(":")
        async with RawClient(await trio.open_tcp_stream(host, int(port))) as client:
            await client.send(Hello())
            return await client.receive(Hello)

    with open_broker(*options) as broker:
        return trio.run(greet, broker.address)


def test_broker_says_where_to_probe() -> None:
    assert greeting_of().probe_port is not None
    assert greeting_of("--no-probes").probe_port is None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [f"--probe-port={port}", "--probe-at=127.0.0.2:4433", "--probe-at=[::1]:4434"]
    greeting = greeting_of(*options)
    assert greeting.probe_port == port
    assert [str(endpoint) for endpoint in greeting.probes] == ["127.0.0.2:4433", "[::1]:4434"]


@pytest.mark.parametrize(("port", "expected"), [("0", 0), ("4433", 4434), ("65535", 0)])
def test_port_for_probes_is_the_next_one(port: str, expected: int) -> None:
    options = argparse.Namespace(port=int(port), probe_port=None, no_probes=False)
    assert broker_command._probe_port(options) == expected


def test_place_to_probe_that_is_none() -> None:
    argv = command("trio-p2p-broker", "--port=0", "--host=127.0.0.1", "--probe-at=nowhere")
    with Tool(*argv) as broker:
        code, output, errors = broker.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "'nowhere' is no broker: give HOST:PORT", program="trio-p2p-broker")


def test_verbose(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "-v") as receiver, connect(broker, uid, "--verbose") as sender:
        ended = end_both(receiver, sender, b"x", b"y")
    assert [code for code, _, _ in ended] == [0, 0]
    logs = [errors for _, _, errors in ended]
    assert f"trio-p2p: waiting for a peer as {uid!r}; we are {peer_id()}\n" in logs[0]
    assert f"trio-p2p: connected to {peer_id()}\n" in logs[1]
    for log, area in zip(logs, ["receiver", "sender"], strict=True):
        lines = re.findall(rf"^ *\d+\.\d ms  trio_p2p\.{area}  .+$", log, re.MULTILINE)
        assert any("connected after" in line for line in lines)
    assert re.search(r" ms  trio_p2p\.broker  step 1, ", broker.wait_for("step 1, "))


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (main_command.main, [], ["listen", "connect", "demo", "id", "doctor"]),
        (main_command.main, ["doctor"], ["BROKER", "$TRIO_P2P_BROKER", "--json", "--verbose"]),
        (
            main_command.main,
            ["listen"],
            ["UID", "--broker HOST:PORT", "--only", "--no-relay", "--raw", "--grace", "--verbose"],
        ),
        (
            main_command.main,
            ["connect"],
            ["UID", "--broker HOST:PORT", "$TRIO_P2P_BROKER", "--only", "--report FILE", "-v"],
        ),
        (main_command.main, ["connect"], ["--identity FILE", "--expect PEER_ID"]),
        (main_command.main, ["id"], ["--identity FILE"]),
        (main_command.main, ["demo"], ["--nat"]),
        (broker_command.main, [], ["--host", "--port", "4433", "--no-relay", "--verbose"]),
        (broker_command.main, [], ["--probe-port PORT", "--probe-at HOST:PORT", "--no-probes"]),
    ],
)
def test_help(
    main: Any, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [word for word in words if word not in text] == []


# Behind NATs.


@pytest.mark.parametrize("answer", [Answer.DROP, Answer.RST])
def test_behind_nats(
    kernel_network: KernelNetwork, answer: Answer, tmp_path: Path, uid: str
) -> None:
    public = kernel_network.add_host()
    sites = [kernel_network.add_site(Nat(answer=answer)) for _ in range(2)]
    texts = [os.urandom(MEBIBYTE // 2).hex() for _ in sites]
    file = tmp_path / "report.json"
    host = str(public.host_address)
    broker_argv = command("trio-p2p-broker", "--host", host, "--port", "0")
    with popen(public.host, *broker_argv) as broker:
        assert broker.stderr is not None
        address = ["--broker", broker.stderr.readline().split()[-1]]
        assert "answering probes" in broker.stderr.readline()
        listen_argv = command("trio-p2p", "listen", uid, "-v", *address)
        options = [*address, "--no-relay", "--report", str(file)]
        connect_argv = command("trio-p2p", "connect", uid, *options)
        with popen(sites[0].host, *listen_argv) as receiver:
            assert receiver.stderr is not None
            for line in receiver.stderr:
                if "waiting for a peer" in line:
                    break
            with popen(sites[1].host, *connect_argv) as sender:
                replies: list[str] = []
                thread = threading.Thread(
                    target=lambda: replies.append(receiver.communicate(texts[0])[0])
                )
                thread.start()
                assert sender.communicate(texts[1], timeout=SECONDS) == (texts[0], "")
                thread.join(SECONDS)
                assert replies == [texts[1]]
                assert (receiver.returncode, sender.returncode) == (0, 0)
        broker.terminate()
        assert broker.communicate(timeout=SECONDS) == ("", "")
        assert broker.returncode == 0
    report = read_report(file)
    assert (report["path"], report["technique"]) == ("direct", "fast")
    [connected] = [one for one in report["attempts"] if one["outcome"] == "connected"]
    addresses = [connected[end].partition(":")[0] for end in ("local", "remote")]
    assert addresses == [str(sites[1].host_address), str(sites[0].public_address)]
