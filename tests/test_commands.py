"""The shell tools, as a user runs them: real processes, joined by pipes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from trio_p2p import Outcome, P2PError
from trio_p2p._commands import broker as broker_command, main as main_command
from trio_p2p._commands.run import CommandError, run_command

from .commands import SECONDS, BrokerTool, Tool, command, end_both, open_broker
from .lab import Answer, KernelNetwork, Nat, popen

MEBIBYTE = 1_048_576
STOPPING = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerTool]:
    with open_broker() as tool:
        yield tool


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


def assert_sentence(errors: str, start: str, program: str = "trio-p2p") -> None:
    """One line, and it is what the tool has to say."""
    assert errors.startswith(f"{program}: {start}"), errors
    assert errors.count("\n") == 1, errors
    assert errors.endswith("\n")


# Bytes.


def test_both_ways(broker: BrokerTool, uid: str) -> None:
    one, other = os.urandom(MEBIBYTE), os.urandom(MEBIBYTE)
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
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
        assert screen.readline() == f"trio-p2p: waiting for a peer as {uid!r}\r\n".encode()
        with connect(broker, uid) as sender:
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
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        sender.say(b"x")
        assert receiver.output.read(1) == b"x"
        with connect(broker, uid) as late:
            code, _, errors = late.end()
            assert code == 1
            assert_sentence(errors, "no receiver is registered under this UID")
        assert end_both(receiver, sender, b"y", b"z") == [(0, b"z", ""), (0, b"y", "")]


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
        (main_command.main, ["listen", "uid", "--report", "file"]),
        (broker_command.main, ["--port", "65536"]),
        (broker_command.main, ["--port", "-1"]),
        (broker_command.main, ["--port", "http"]),
    ],
)
def test_wrong_usage(main: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main, arguments, capsys)
    assert code == 2
    assert errors.startswith("usage: trio-p2p")
    assert "error: " in errors


def test_unknown_uid(broker: BrokerTool, uid: str) -> None:
    with connect(broker, uid) as sender:
        code, output, errors = sender.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "no receiver is registered under this UID: check its spelling")


def test_taken_uid(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid), listen(broker, uid) as second:
        code, output, errors = second.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "another receiver is registered under this UID: choose another")


@contextmanager
def open_false_broker(*, hangs_up: bool) -> Iterator[tuple[str, threading.Event]]:
    """A broker that never answers: its address, and whether somebody has asked."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                asked.set()
                if not hangs_up:
                    connection.recv(1024)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join(SECONDS)


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
def test_broker_lost(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_false_broker(hangs_up=True) as (address, _):
        code, errors = run_main(main_command.main, [subcommand, "u", "--broker", address], capsys)
    assert code == 1
    assert_sentence(errors, f"the connection to the broker at {address} was lost (")


def test_receiver_finds_broker_again(uid: str) -> None:
    with open_broker() as broker, listen(broker, uid) as receiver:
        assert broker.stop() == 0
        assert receiver.errors.readline().startswith(f"trio-p2p: {uid!r} is not".encode())
        with open_broker(port=broker.address.rpartition(":")[2]) as successor:
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


def test_killed_peer(broker: BrokerTool, uid: str) -> None:
    with (
        Path("/dev/zero").open("rb") as endless,
        listen(broker, uid) as receiver,
        connect(broker, uid, stdin=endless) as sender,
    ):
        assert receiver.output.read(1) == b"\0"
        receiver.process.kill()
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, "the connection to the peer broke: ")


# Reports.


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert list(report) == ["path", "technique", "seconds", "attempts"]
    for attempt in report["attempts"]:
        assert list(attempt) == ["technique", "local", "remote", "outcome", "seconds"]
        assert attempt["technique"] in {"fast", "classic"}
        assert attempt["outcome"] in set(Outcome)
        assert 0 <= attempt["seconds"] < SECONDS
        for endpoint in (attempt["local"], attempt["remote"]):
            assert endpoint is None or re.fullmatch(r"[0-9.]+:[0-9]+", endpoint)
    return report


@pytest.mark.parametrize(
    ("options", "technique"),
    [
        ([[], []], "fast"),
        ([[], ["--only=classic"]], "classic"),
        ([["--only=classic"], []], "classic"),
        ([["--only=classic", "--only=fast"], ["--only=fast"]], "fast"),
        ([["--only=fast", "--only=classic"], ["--only=classic", "--only=fast"]], "classic"),
    ],
)
def test_report(
    broker: BrokerTool, uid: str, tmp_path: Path, options: list[list[str]], technique: str
) -> None:
    file = tmp_path / "report.json"
    of_receiver, of_sender = options[0], [*options[1], "--report", str(file)]
    with listen(broker, uid, *of_receiver) as receiver, connect(broker, uid, *of_sender) as sender:
        receiver.say(b"x")
        assert sender.output.read(1) == b"x"
        # There already while the connection goes on:
        report = read_report(file)
        assert end_both(receiver, sender) == [(0, b"", ""), (0, b"", "")]
    assert report == read_report(file)
    assert report["path"] == "direct"
    assert report["technique"] == technique
    connected = [one for one in report["attempts"] if one["outcome"] == "connected"]
    assert [one["technique"] for one in connected] == [technique]
    assert 0 < connected[0]["seconds"] <= report["seconds"] < SECONDS


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
    attempts = report.pop("attempts")
    assert report == {"path": None, "technique": None, "seconds": None}
    for attempt in attempts:
        del attempt["seconds"]
        assert attempt == {
            "technique": "classic",
            "local": None,
            "remote": None,
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
    nothing: dict[str, Any] = {"path": None, "technique": None, "seconds": None, "attempts": []}
    assert read_report(file) == nothing


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
    with listen(broker, uid), connect(broker, uid, "--report", "/dev/full") as sender:
        code, _, errors = sender.end()
    assert code == 1
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
def test_signal_while_connected(broker: BrokerTool, uid: str, number: signal.Signals) -> None:
    with listen(broker, uid) as receiver, connect(broker, uid) as sender:
        for one, other in ((sender, receiver), (receiver, sender)):
            one.say(b"x")
            assert other.output.read(1) == b"x"
        assert sender.signal(number) == (128 + number, b"", "")
        assert receiver.end(b"") == (0, b"", "")


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
        f"cannot listen on port {port} of 127.0.0.1 (Address already in use): choose others",
        program="trio-p2p-broker",
    )


def test_quiet_broker_on_all_interfaces() -> None:
    with Tool(*command("trio-p2p-broker", "--port", "0")) as broker:
        line = broker.errors.readline().decode()
        assert re.fullmatch(r"trio-p2p-broker: listening on (0\.0\.0\.0|\[::\]):\d+\n", line)
        code, output, errors = broker.signal(signal.SIGTERM)
    assert (code, output) == (0, b"")
    # At most one more line, for the other address family.
    assert re.fullmatch(r"(trio-p2p-broker: listening on \S+\n)?", errors)


def test_verbose(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "-v") as receiver, connect(broker, uid, "--verbose") as sender:
        ended = end_both(receiver, sender, b"x", b"y")
    assert [code for code, _, _ in ended] == [0, 0]
    logs = [errors for _, _, errors in ended]
    assert f"trio-p2p: waiting for a peer as {uid!r}\n" in logs[0]
    for log, area in zip(logs, ["receiver", "sender"], strict=True):
        lines = re.findall(rf"^ *\d+\.\d ms  trio_p2p\.{area}  .+$", log, re.MULTILINE)
        assert any("connected after" in line for line in lines)
    assert re.search(r" ms  trio_p2p\.broker  step 1, ", broker.wait_for("step 1, "))


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (main_command.main, [], ["listen", "connect", "demo"]),
        (main_command.main, ["listen"], ["UID", "--broker HOST:PORT", "--only", "--verbose"]),
        (
            main_command.main,
            ["connect"],
            ["UID", "--broker HOST:PORT", "$TRIO_P2P_BROKER", "--only", "--report FILE", "-v"],
        ),
        (main_command.main, ["demo"], ["--nat"]),
        (broker_command.main, [], ["--host", "--port", "4433", "--verbose"]),
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
        listen_argv = command("trio-p2p", "listen", uid, "-v", *address)
        connect_argv = command("trio-p2p", "connect", uid, *address, "--report", str(file))
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
    connected = report["attempts"][-1]
    addresses = [connected[end].partition(":")[0] for end in ("local", "remote")]
    assert addresses == [str(sites[1].host_address), str(sites[0].public_address)]
