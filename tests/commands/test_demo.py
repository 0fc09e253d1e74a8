"""The demo shows every step, behind NATs where it can, and says why where it cannot."""

import os
import re
import sys
from pathlib import Path

import pytest
import trio

from trio_p2p import IntroductionError, Peer
from trio_p2p._commands import main as main_command
from trio_p2p._lab import namespaces

from ..kit.commands import Tool, command
from ..kit.lab import KernelNetwork

pytestmark = pytest.mark.once

FALLBACK = "trio-p2p: no NATs can be made here, so the demo does without. "
WITHOUT_NATS = """\
                  broker 127.0.0.1
                   /                      \\
  no NAT                                 no NAT
            |                                 |
  receiver 127.0.0.1                     sender 127.0.0.1"""
WITH_NATS = """\
                  broker 198.51.100.101
                   /                      \\
  NAT 203.0.113.1                        NAT 203.0.113.2
            |                                 |
  receiver 192.168.1.2                   sender 192.168.2.2"""
COLUMNS, LINES = 80, 24
# Lists of steps, each in this order, with anything in between
RELAYED = [
    "receiver  is registered, and seen at ",
    "sender    asks for 'demo' (relay), seen at ",
]
DIRECT = [
    "receiver  is registered, and seen at ",
    "sender    asks for 'demo' (classic), seen at ",
    "receiver  is told of the sender at ",
    "receiver  dials the sender, so that its own NAT lets it in",
    "receiver  says that its NAT lets the sender in now",
    "sender    is told of the receiver at ",
    "sender    dials the receiver",
    "stream    the path is direct (",
]
TOTALS = (
    r"44 bytes came back, encrypted; in all \d+ bytes went and \d+ came, over (\d) paths?\n"
    r"the peer has proven to be p2p[a-z2-7]{40}\n"
)
ACTS = ["fast introduction", "classic introduction", "relay, and from there to a direct path"]


def assert_shown(output: str, picture: str) -> None:
    """One screen: where each program is, the steps with rising times, the move, the totals."""
    assert len(output.splitlines()) < LINES  # and the next prompt
    assert max(map(len, output.splitlines())) <= COLUMNS
    shown_picture, story, end = output.split("\n\n")
    assert shown_picture == picture
    steps = steps_in(story)
    for sequence in RELAYED, DIRECT:
        assert_in_order(steps, sequence)
    assert_moved(steps, end)


def assert_in_order(lines: list[str], starts: list[str]) -> None:
    rest = iter(lines)
    for start in starts:
        assert any(line.startswith(start) for line in rest), (start, lines)


def assert_moved(steps: list[str], end: str) -> None:
    """The stream got from the relay to a direct path, unless that was there sooner."""
    totals = re.search(TOTALS, end)
    assert totals, end
    *moves, _, _ = end.splitlines()
    if len(moves) == 1:
        assert re.fullmatch(r"connected in \d+\.\d ms: direct \(classic\), to \S+:\d+", moves[0])
        return
    connected, moved = moves
    assert re.fullmatch(r"connected in \d+\.\d ms: relay, to \S+:\d+", connected)
    assert re.fullmatch(r"moved after \d+\.\d ms: direct \(classic\), to \S+:\d+", moved)
    assert totals[1] == "2"
    ways = [
        "broker    relays what they say, and cannot read it",
        "stream    both are connected by the relay (",
        "stream    the path is direct (",
    ]
    assert_in_order(steps, ways)


def steps_in(story: str) -> list[str]:
    """What was told of."""
    lines = story.splitlines()
    matches = [re.fullmatch(r" *(\d+\.\d) ms  (\w+ +\S.*)", line) for line in lines]
    times = [float(match[1]) for match in matches if match]
    assert len(times) == len(lines), lines
    assert times == sorted(times)
    return [match[2] for match in matches if match]


def show_demo(*arguments: str, prefix: tuple[str, ...] = ()) -> tuple[str, str]:
    """What the demo writes to standard output, and to standard error."""
    with Tool(*prefix, *command("trio-p2p", "demo", *arguments)) as tool:
        code, output, errors = tool.end()
    assert code == 0, errors
    return output.decode(), errors


def test_without_nats() -> None:
    output, errors = show_demo()
    assert_shown(output, WITHOUT_NATS)
    assert errors == ""


def test_everything_that_is_logged() -> None:
    output, errors = show_demo("--verbose")
    assert output.startswith(WITHOUT_NATS)
    assert [line for line in output.splitlines() if line in ACTS] == ACTS
    for text in (
        "Register(number=0, uid='demo', ",
        "IntroductionRequest(number=0, uid='demo'",
        "Kill()",
    ):
        assert f": {text}" in output
    assert errors == ""


def test_where_only_ascii_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    output, errors = show_demo("--verbose")
    assert output.isascii()
    assert " -> " in output
    assert errors == ""


@pytest.mark.usefixtures("kernel_network")
def test_with_nats() -> None:
    output, errors = show_demo("--nat")
    assert_shown(output, WITH_NATS)
    assert errors == ""


# Root without the privileges of root. What it needs to be root in a namespace of its own, it keeps.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all,+setfcap")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.mark.usefixtures("kernel_network")
def test_with_nats_in_a_user_namespace() -> None:
    output, errors = show_demo("--nat", prefix=WITHOUT_PRIVILEGES)
    assert_shown(output, WITH_NATS)
    assert errors == ""


@pytest.mark.usefixtures("kernel_network")
def test_with_nats_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root has all users to choose from; whoever is root in a user namespace only has no privileges.
    is_root = os.geteuid() == 0 and "4294967295" in Path("/proc/self/uid_map").read_text()
    # Nobody else may write where coverage does.
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)
    # Nor read where root has the tools, perhaps.
    with Tool(*NOBODY, *command("trio-p2p", "--help")) as tool:
        can_be_nobody = is_root and tool.end()[0] == 0
    output, errors = show_demo("--nat", prefix=NOBODY if can_be_nobody else ())
    assert_shown(output, WITH_NATS)
    assert errors == ""


IN_NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
WITH_THREADS = """
import sys, threading
from trio_p2p._commands.main import main
threading.Thread(target=threading.Event().wait, daemon=True).start()
sys.exit(main(["demo", "--nat"]))
"""


@pytest.mark.usefixtures("kernel_network")
@pytest.mark.parametrize(
    ("forbid", "reason"),
    [
        (
            "echo 0 > /proc/sys/user/max_user_namespaces",
            "Unprivileged user namespaces are switched off (No space left on device): ",
        ),
        (
            "echo 0 > /proc/sys/user/max_net_namespaces",
            "The kernel refuses network namespaces (No space left on device): ",
        ),
        (
            "mount --rbind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys",
            "/proc/sys is read-only in this container: ",
        ),
    ],
)
def test_where_namespaces_are_denied(forbid: str, reason: str) -> None:
    prefix = (*IN_NAMESPACES, forbid + '; exec "$@"', "sh", *WITHOUT_PRIVILEGES)
    output, errors = show_demo("--nat", prefix=prefix)
    assert_shown(output, WITHOUT_NATS)
    assert errors.startswith(FALLBACK + reason)
    assert errors.count("\n") == 1


@pytest.mark.usefixtures("kernel_network")
def test_where_threads_run() -> None:
    with Tool(*WITHOUT_PRIVILEGES, sys.executable, "-c", WITH_THREADS) as tool:
        code, output, errors = tool.end()
    assert code == 0
    assert_shown(output.decode(), WITHOUT_NATS)
    assert errors.startswith(FALLBACK + "This process has several threads already, ")


def demonstrate(capsys: pytest.CaptureFixture[str]) -> str:
    """Run the demo in this process without NATs, though they are asked for; the excuse."""
    assert main_command.main(["demo", "--nat"]) == 0
    captured = capsys.readouterr()
    assert_shown(captured.out, WITHOUT_NATS)
    assert captured.err.startswith(FALLBACK)
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix(FALLBACK)


def test_without_tools(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(namespaces, "_TOOL_PATH", "")
    assert "install iproute2 and nftables." in demonstrate(capsys)


def test_with_tools_that_fail(
    kernel_network: KernelNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    false_nft = tmp_path / "nft"
    false_nft.write_text("#!/bin/sh\necho 'Operation not supported' >&2\nexit 1\n")
    false_nft.chmod(0o755)
    monkeypatch.setattr(namespaces, "_TOOL_PATH", f"{tmp_path}:{namespaces._TOOL_PATH}")
    assert "Operation not supported" in demonstrate(capsys)


def test_nobody_reads() -> None:
    reading_end, writing_end = os.pipe()
    with (
        os.fdopen(writing_end, "wb") as stdout,
        Tool(*command("trio-p2p", "demo"), stdout=stdout) as tool,
    ):
        os.close(reading_end)
        assert tool.end() == (0, b"", "")


def test_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise IntroductionError("no connection came of it")

    monkeypatch.setattr(Peer, "open_stream", fail)
    assert main_command.main(["demo"]) == 1
    assert capsys.readouterr().err == "trio-p2p: no connection came of it\n"
