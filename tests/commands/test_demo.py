"""The demo shows every step, behind NATs where it can, and says why where it cannot."""

import os
import re
import sys
from pathlib import Path

import pytest
import trio

from trio_p2p import IntroductionError, Peer
from trio_p2p._commands import demo, main as main_command
from trio_p2p._lab import namespaces

from ..kit.commands import Tool, command
from ..kit.lab import KernelNetwork

pytestmark = pytest.mark.once

FALLBACK = "trio-p2p: no NATs can be made here, so the demo does without. "
WITHOUT_NATS = "Three programs on this host, no NATs."
WITH_NATS = (
    "Broker 198.51.100.101, receiver 192.168.1.2 behind a NAT with 203.0.113.1,\n"
    "sender 192.168.2.2 behind a NAT with 203.0.113.2."
)
COLUMNS, LINES = 80, 24
INITIATION = [
    "broker    initiation 1: registers 'demo', from ",
    "broker    initiation 2: registered, seen at ",
]
CLASSIC_STEPS = [
    "broker    step 1: asks for 'demo' (classic), from ",
    "broker    step 2: the receiver is asked to punch",
    "broker    step 3: the receiver answers from ",
    "broker    step 4: the sender is at ",
    "receiver  steps 6 to 8: ",
    "broker    step 9: the hole is punched",
    "broker    step 10: the receiver is at ",
    "sender    step 12: dialling ",
]
RELAY_STEPS = [
    "broker    step 1: asks for 'demo' (relay), from ",
    "broker    relay 2: the receiver is asked to join the relay",
]
RELAYED_STEPS = [
    *RELAY_STEPS,
    "broker    relay 3: the receiver joins from ",
    "broker    relay 4: from here on both are relayed",
]
DIRECT = "stream    the path is direct ({}) to "
# Lists of steps, each in this order, with anything in between
ACTS = {
    "fast introduction": [
        [
            *INITIATION,
            "broker    step 1: asks for 'demo' (fast), from ",
            "broker    step 4: the sender is at ",
            "receiver  steps 5 to 8: punching to ",
            DIRECT.format("fast"),
        ],
        [*INITIATION, "broker    step 10: the receiver is at ", DIRECT.format("fast")],
    ],
    "classic introduction": [[*INITIATION, *CLASSIC_STEPS, DIRECT.format("classic")]],
    "relay, and from there to a direct path": [
        [*INITIATION, *RELAY_STEPS],
        [*INITIATION, *CLASSIC_STEPS, DIRECT.format("classic")],
    ],
}
CAME_BACK = r"{} bytes came back, encrypted, from p2p[a-z2-7]{{40}}"


def assert_shown(output: str, caption: str) -> None:
    """Each act led to a direct connection, and its steps are shown with rising times."""
    shown_caption, *acts = output.rstrip().split("\n\n")
    assert shown_caption == caption
    assert [act.partition("\n")[0] for act in acts] == list(ACTS)
    assert "broker    step 11: closes the sender's connection\n" in acts[1]
    for act, sequences in zip(acts, ACTS.values(), strict=True):
        assert len(act.splitlines()) <= LINES
        assert max(map(len, act.splitlines())) <= COLUMNS
        steps = steps_in(act)
        for sequence in sequences:
            assert_in_order(steps, sequence)
    for act, technique in zip(acts[:2], ["fast", "classic"], strict=True):
        connected, came_back = act.splitlines()[-2:]
        assert path_in(connected, "connected in") == ["direct", technique]
        assert re.fullmatch(CAME_BACK.format(22), came_back)
    assert_moved(acts[2])


def steps_in(act: str) -> list[str]:
    """What was told of."""
    lines = [line for line in act.splitlines() if line.startswith(" ")]
    matches = [re.fullmatch(r" *(\d+\.\d) ms  (\w+ +\S.*)", line) for line in lines]
    times = [float(match[1]) for match in matches if match]
    assert len(times) == len(lines), lines
    assert times == sorted(times)
    return [match[2] for match in matches if match]


def assert_in_order(lines: list[str], starts: list[str]) -> None:
    rest = iter(lines)
    for start in starts:
        assert any(line.startswith(start) for line in rest), (start, lines)


def path_in(line: str, what: str) -> list[str]:
    """Kind and technique of the path that a line of the summary is about."""
    match = re.fullmatch(rf"{what} \d+\.\d ms: (\w+)(?: \((\w+)\))?, to \S+:\d+", line)
    assert match, line
    return [match[1], match[2] or match[1]]


def assert_moved(act: str) -> None:
    """The stream got from the relay to a direct path, unless that was there sooner."""
    *_, before, last, came_back = act.splitlines()
    assert re.fullmatch(CAME_BACK.format(44), came_back)
    if last.startswith("connected in"):
        assert path_in(last, "connected in") == ["direct", "classic"]
        return
    assert path_in(before, "connected in") == ["relay", "relay"]
    assert path_in(last, "moved after") == ["direct", "classic"]
    assert_in_order(steps_in(act), RELAYED_STEPS)


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


def interrupt(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "run", interrupt)
    assert main_command.main(["demo"]) == 130
    assert capsys.readouterr().err == ""
