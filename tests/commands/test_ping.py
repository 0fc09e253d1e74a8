"""``trio-p2p ping``: round trips, the path, and why it is that of the relay."""

import json
import re
import signal
from pathlib import Path

import pytest

from trio_p2p._commands import main as main_command

from ..kit.answering import answering, asking
from ..kit.commands import (
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    listen,
    open_false_broker,
    peer_id,
    run_main,
)
from ..kit.lab import KernelNetwork, Nat, SymmetricKind, popen

pytestmark = pytest.mark.once

QUICK = "--interval=0"
MILLISECONDS = r"\d+\.\d ms"


def test_screen(broker: BrokerTool, uid: str) -> None:
    with answering(broker, uid), asking(broker, "ping", uid, QUICK, "--count=2") as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    connected, *lines, total = output.decode().splitlines()
    assert re.fullmatch(rf"connected to {peer_id()} in {MILLISECONDS}", connected)
    for number, line in enumerate(lines, 1):
        way = r"(direct \(fast\), to|relay, by) 127\.0\.0\.1:\d+"
        assert re.fullmatch(rf"{number:3}  +{MILLISECONDS}  {way}", line)
    assert re.fullmatch(
        rf"2 round trips: at least [\d.]+, median [\d.]+, at most {MILLISECONDS}", total
    )


def test_relayed_path_is_explained(broker: BrokerTool, uid: str) -> None:
    options = QUICK, "--count=1", "--only=relay"
    with answering(broker, uid), asking(broker, "ping", uid, *options) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    *_, path, total, why = output.decode().splitlines()
    assert path.endswith(f"  relay, by {broker.address}")
    assert total.startswith("1 round trip: ")
    assert why == "relayed, because no direct path was tried, or none has ended yet"


def test_json(broker: BrokerTool, uid: str) -> None:
    options = QUICK, "--count=3", "--json", "--no-relay"
    with answering(broker, uid), asking(broker, "ping", uid, *options) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert len(report["round_trips"]) == 3
    assert (report["uid"], report["peer_id"]) == (uid, peer_id())
    assert (report["path"], report["technique"]) == ("direct", "fast")
    assert report["remote"].startswith("127.0.0.1:")
    assert "connected" not in {each["outcome"] for each in report["failed_attempts"]}


def test_behind_nats_that_allow_the_relay_only(kernel_network: KernelNetwork, uid: str) -> None:
    public = kernel_network.add_host()
    sites = [kernel_network.add_site(Nat(SymmetricKind.RANDOM)) for _ in range(2)]
    host = str(public.host_address)
    argv = command("trio-p2p-broker", "--host", host, "--port=0", "--log-level=warning")
    with popen(public.host, *argv) as server:
        assert server.stderr is not None
        address = server.stderr.readline().split()[-1]
        with popen(sites[0].host, *command("trio-p2p", "answer", uid, "--broker", address)) as peer:
            assert peer.stderr is not None
            assert "answering" in peer.stderr.readline()
            argv = command("trio-p2p", "ping", uid, "--broker", address, QUICK, "--count=1")
            with popen(sites[1].host, *argv) as tool:
                output, errors = tool.communicate(timeout=SECONDS)
    assert (tool.returncode, errors) == (0, "")
    assert f"  relay, by {address}\n" in output
    assert "relayed, because no direct path " in output


def test_interrupt(broker: BrokerTool, uid: str) -> None:
    """What was measured so far is said."""
    with answering(broker, uid), asking(broker, "ping", uid, "--interval=3600") as tool:
        tool.output.readline()
        tool.output.readline()
        code, output, errors = tool.signal(signal.SIGINT)
    assert (code, errors) == (130, "")
    assert output.startswith(b"1 round trip: ")


def test_interrupt_before_it_has_connected(uid: str) -> None:
    with open_false_broker(hangs_up=False) as (address, asked):
        argv = command("trio-p2p", "ping", uid, "--broker", address)
        with Tool(*argv) as tool:
            assert asked.wait(SECONDS)
            assert tool.signal(signal.SIGINT) == (130, b"", "")


def test_peer_that_does_not_answer(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid), asking(broker, "ping", uid) as tool:
        code, output, errors = tool.end()
    assert code == 1
    assert output.startswith(b"connected to ")
    assert_sentence(errors, "the peer is there, but does not answer: run `trio-p2p answer` with ")


def test_peer_that_ends(broker: BrokerTool, uid: str) -> None:
    with (
        answering(broker, uid) as peer,
        asking(broker, "ping", uid, "--interval=0.01", "--count=999999") as tool,
    ):
        tool.output.readline()
        tool.output.readline()
        assert peer.signal(signal.SIGTERM) == (143, b"", "")
        code, _, errors = tool.end()
    assert code == 1
    assert errors.startswith("trio-p2p: the ")
    assert errors.count("\n") == 1


def test_nobody_is_there(broker: BrokerTool, uid: str) -> None:
    with asking(broker, "ping", uid) as tool:
        code, output, errors = tool.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, f"no receiver is registered under {uid!r}")


def test_full_disk(broker: BrokerTool, uid: str) -> None:
    argv = command("trio-p2p", "ping", uid, QUICK)
    with (
        Path("/dev/full").open("wb") as full,
        answering(broker, uid),
        Tool(*argv, broker=broker.address, stdout=full) as tool,
    ):
        code, _, errors = tool.end()
    assert code == 1
    assert_sentence(errors, "standard output cannot be written: No space left on device")


def test_reader_that_has_ended(broker: BrokerTool, uid: str) -> None:
    with answering(broker, uid), asking(broker, "ping", uid, QUICK, "--count=9999") as tool:
        tool.output.close()
        code = tool.process.wait(SECONDS)
        errors = tool.errors.read().decode()
    assert code == 1
    assert_sentence(errors, "standard output is closed: its reader has ended")


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--count", "0"], "'0' is no number: give 1 or more"),
        (["--count", "many"], "'many' is no number: give 1 or more"),
        (["--interval", "-1"], "-1.0 is no time: give seconds, 0 or more"),
    ],
)
def test_malformed_options(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ping", "uid", "--broker", NOBODY, *options]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert errors.endswith(f": {sentence}\n")
