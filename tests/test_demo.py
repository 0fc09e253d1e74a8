"""The demo shows every step, behind NATs where it can, and says why where it cannot."""

import os
import re
import sys
from pathlib import Path

import pytest
import trio

from trio_p2p import IntroductionError
from trio_p2p._commands import demo, main as main_command
from trio_p2p._lab import namespaces

from .commands import Tool, command
from .lab import KernelNetwork

FALLBACK = "trio-p2p: no NATs can be made here, so the demo does without. "
WITHOUT_NATS = "Three programs on this host, no NATs."
WITH_NATS = (
    "broker 198.51.100.101  |  receiver 192.168.1.2, behind a NAT with 203.0.113.1  |  "
    "sender 192.168.2.2, behind a NAT with 203.0.113.2"
)
# In this order, with anything in between
STEPS = {
    "fast": [
        "broker    initiation 1, ",
        "broker    initiation 2, ",
        "receiver  'demo' is registered",
        "broker    step 1, ",
        "broker    step 4, ",
        "broker    step 10, ",
    ],
    "classic": [
        "broker    greeting, from ",
        "broker    initiation 1, ",
        "broker    initiation 2, ",
        "receiver  'demo' is registered",
        "broker    step 1, ",
        "broker    step 2, ",
        "receiver  step 3: ",
        "broker    step 3, ",
        "broker    step 4, ",
        "receiver  steps 4 and 5: ",
        "receiver  steps 6 to 8: ",
        "receiver  step 9: ",
        "broker    step 9, ",
        "broker    step 10, ",
        "sender    dialling ",
    ],
}


def assert_shown(output: str, caption: str) -> None:
    """Both techniques led to a connection, and their steps are shown with rising times."""
    assert "broker    after step 10, closing " in output  # perhaps while the sender dials already
    first_line, *parts = output.rstrip().split("\n\n")
    assert first_line == caption
    assert [part.partition("\n")[0] for part in parts] == [f"{name} introduction" for name in STEPS]
    for part, steps in zip(parts, STEPS.values(), strict=True):
        *lines, summary = part.splitlines()[1:]
        matches = [re.fullmatch(r" *(\d+\.\d) ms  (\w+ +\S.*)", line) for line in lines]
        times = [float(match[1]) for match in matches if match]
        assert len(times) == len(lines), lines
        assert times == sorted(times)
        rest = iter(match[2] for match in matches if match)
        for step in steps:
            assert any(shown.startswith(step) for shown in rest), (step, lines)
        assert re.fullmatch(
            r"connected directly in \d+\.\d ms, \S+:\d+ → \S+:\d+; 22 bytes came back", summary
        )


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


async def fail(*args: object, **options: object) -> None:
    await trio.lowlevel.checkpoint()
    raise IntroductionError("no connection came of it")


def test_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "open_p2p_stream", fail)
    assert main_command.main(["demo"]) == 1
    assert capsys.readouterr().err == "trio-p2p: no connection came of it\n"


def interrupt(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "run", interrupt)
    assert main_command.main(["demo"]) == 130
    assert capsys.readouterr().err == ""
