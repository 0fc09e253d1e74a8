"""Commands are run until they end, fail, or a signal comes."""

import re
import signal
from pathlib import Path

import pytest
import trio

from trio_p2p import IdentityError, LocalProtocolError, P2PError
from trio_p2p._commands.run import CommandError, UsageError, exit_code_of, run_command

from ..kit.commands import (
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    end_both,
    listen,
    open_broker,
    open_false_broker,
    peer_id,
)
from .reports import read_report

pytestmark = pytest.mark.once

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_the_broker(uid: str, number: signal.Signals) -> None:
    with open_broker() as broker, listen(broker, uid):
        assert broker.stop(number) == 0
        assert not any("Traceback" in line for line in broker.lines)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("--raw and --grace"), 2),
        (LocalProtocolError("no UID"), 2),
        (CommandError("cannot write"), 1),
        (P2PError("no broker"), 1),
        (IdentityError("no identity"), 1),
        (OSError(5, "Input/output error"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code


def test_a_command_started_with_nohup_goes_on_without_its_terminal(
    broker: BrokerTool, uid: str
) -> None:
    argv = command("trio-p2p", "listen", "-q", uid)
    ignoring = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
    with broker.expecting_registration(uid):
        receiver = Tool(*ignoring, *argv, broker=broker.address)
    with receiver:
        receiver.process.send_signal(signal.SIGHUP)
        with connect(broker, uid) as sender:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]


async def fail_with_group() -> None:
    await trio.lowlevel.checkpoint()
    raise BaseExceptionGroup("", [ExceptionGroup("", [CommandError("one"), P2PError("two")])])


async def stumble() -> None:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


@pytest.mark.usefixtures("started_by_user")
def test_run_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fail_with_group, print, STOPPING) == 1
    assert capsys.readouterr().err == "trio-p2p: one\n"
    # A bug is not a sentence for users.
    with pytest.RaisesGroup(ZeroDivisionError):
        run_command(stumble, print, STOPPING)


def test_verbose(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid, "-v") as receiver, connect(broker, uid, "--verbose") as sender:
        ended = end_both(receiver, sender, b"x", b"y")
    assert [code for code, _, _ in ended] == [0, 0]
    logs = [errors for _, _, errors in ended]
    assert f"trio-p2p: waiting for a peer as {uid!r}; we are {peer_id()}\n" in logs[0]
    assert f"trio-p2p: connected to {peer_id()}; the path is " in logs[1]
    for log, area in zip(logs, ["receiver", "sender"], strict=True):
        lines = re.findall(rf"^ *\d+\.\d ms  trio_p2p\.{area}  .+$", log, re.MULTILINE)
        assert any("connected after" in line for line in lines)
    assert re.search(r" DEBUG step 1, ", broker.wait_for("step 1, "))
