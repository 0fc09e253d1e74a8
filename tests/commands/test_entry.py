"""How ``trio-p2p`` starts: ``--version``, and an interrupt while it loads what it needs."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from trio_p2p._commands import entry

from ..kit.commands import SECONDS, Tool, assert_sentence, command

pytestmark = pytest.mark.once

LINE = f"trio-p2p {version('trio-p2p')}\n"
# Is interrupted where the rest is imported.
INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "trio_p2p._commands.{module}":
            os.kill(os.getpid(), signal.SIGINT)

from trio_p2p._commands import entry
sys.meta_path.insert(0, Interrupt())
sys.exit(entry.{main}(["--help"]))
"""
VERSION_ONLY = """
import sys
from trio_p2p._commands.entry import main
assert main(["--version"]) == 0
assert not {"trio", "attrs", "msgpack", "cryptography", "trio_p2p._public"} & set(sys.modules)
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "listen"]])
def test_version(arguments: list[str]) -> None:
    with Tool(*command("trio-p2p", *arguments)) as tool:
        assert tool.end() == (0, LINE.encode(), "")


@pytest.fixture
def own_interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("own_interrupts")
def test_version_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr() == (LINE, "")


def test_version_loads_next_to_nothing() -> None:
    subprocess.run([sys.executable, "-c", VERSION_ONLY], check=True, timeout=SECONDS)


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "listen"]])
def test_version_on_a_full_disk(arguments: list[str]) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        Tool(*command("trio-p2p", *arguments), stdout=full) as tool,
    ):
        code, _, errors = tool.end()
    assert code == 1
    assert_sentence(errors, "standard output cannot be written: No space left on device")


@pytest.mark.parametrize(("main", "module"), [("main", "main"), ("main_of_broker", "broker")])
def test_interrupt_while_the_rest_is_loaded(main: str, module: str) -> None:
    program = INTERRUPTED.replace("{main}", main).replace("{module}", module)
    with Tool(sys.executable, "-c", program) as tool:
        assert tool.end() == (-signal.SIGINT, b"", "")  # which shells show as 130


def test_interrupts_that_are_ignored_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how shells start commands in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        entry.main(["--version"])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("own_interrupts")
def test_everything_else_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        entry.main(["--help"])
    assert "usage: trio-p2p" in capsys.readouterr().out
