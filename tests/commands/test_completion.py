"""``trio-p2p completion``: scripts that shells take."""

import subprocess
import sys

import pytest

from trio_p2p._commands import main as main_command

from ..kit.commands import SECONDS, Tool, assert_sentence, command

pytestmark = pytest.mark.once

WITHOUT_SHTAB = """
import sys
sys.modules["shtab"] = None
from trio_p2p._commands.main import main
sys.argv[0] = "trio-p2p"
sys.exit(main(["completion", "bash"]))
"""


def test_bash_completes_commands_and_options() -> None:
    with Tool(*command("trio-p2p", "completion", "bash")) as tool:
        code, script, errors = tool.end()
    assert (code, errors) == (0, "")
    asked = b"""
COMP_WORDS=(trio-p2p pi) COMP_CWORD=1; _shtab_trio_p2p; echo "${COMPREPLY[@]}"
COMP_WORDS=(trio-p2p ping --js) COMP_CWORD=2; _shtab_trio_p2p; echo "${COMPREPLY[@]}"
"""
    shell = ["bash", "--norc", "-s"]
    answer = subprocess.run(
        shell, input=script + asked, stdout=subprocess.PIPE, check=True, timeout=SECONDS
    )
    assert answer.stdout.split() == [b"ping", b"--json"]


def test_zsh() -> None:
    with Tool(*command("trio-p2p", "completion", "zsh")) as tool:
        code, script, errors = tool.end()
    assert (code, errors) == (0, "")
    assert b"--interval" in script


def test_without_the_extra() -> None:
    with Tool(sys.executable, "-c", WITHOUT_SHTAB) as tool:
        code, output, errors = tool.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, "this needs shtab: run pip install 'trio-p2p[completion]'")


def test_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main_command.main(["completion", "fish"])
    assert "invalid choice: 'fish'" in capsys.readouterr().err
