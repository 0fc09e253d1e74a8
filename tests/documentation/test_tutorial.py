"""The commands of the tutorial do what it shows, one after the other, in one shell's folder."""

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
import trio

from ..kit.example import ENVIRONMENT, Program, open_program
from ..kit.loopback import HOST, PATIENCE, is_listening, reserved_port, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.rst").read_text("utf-8")
# Blocks with a class are run; those without one are for other machines than this.
BLOCK = re.compile(r"\.\. code-block::\n   :class: (\w+)\n\n((?:   .*\n|\n)+)")
PEER_ID = re.compile(r"p2p[a-z2-7]{40}")
PORT = "4433"

pytestmark = [pytest.mark.once, pytest.mark.slow]


@attrs.frozen
class Command:
    """A command of the page.

    Attributes:
        kind: ``serving`` if it runs on, ``running`` if it ends, ``printing`` if it ends and prints
            more than the page shows.
        line: what the reader types.
        output: what the page shows.
    """

    kind: str
    line: str
    output: str


def commands() -> Iterator[Command]:
    for kind, text in BLOCK.findall(PAGE):
        for part in text.replace("\n   ", "\n").strip().split("$ ")[1:]:
            line, _, output = part.partition("\n")
            yield Command(kind, line, output.strip())


def test_commands_are_found() -> None:
    kinds = [command.kind for command in commands()]
    assert kinds.count("serving") == 6
    assert kinds.count("running") == 4
    assert kinds.count("printing") == 1


async def test_commands_do_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shown: dict[str, str] = {}  # the real peer ids by those of the page
    async with AsyncExitStack() as stack:
        port = str(stack.enter_context(reserved_port()))

        def real(text: str) -> str:
            text = text.replace(f"localhost:{PORT}", f"{HOST}:{port}")
            text = text.replace(f"--port {PORT}", f"--host {HOST} --port {port} --probe-port 0")
            return PEER_ID.sub(lambda found: shown.get(found[0], found[0]), text)

        serving: dict[str, Program] = {}
        for command in commands():
            if command.kind == "serving":
                for line in [line for line in serving if "chat.py" in command.line]:
                    if "identities.py" in line:
                        await serving.pop(line).interrupt()  # the page says to stop it
                argv = real(command.line).split()
                program = await stack.enter_async_context(open_program(argv, tmp_path))
                serving[command.line] = program
                await wait_ready(program, int(port), is_broker=len(serving) == 1)
                continue
            output = await run(real(command.line), tmp_path)
            if command.line.startswith("python examples/identities.py show"):
                shown[command.output] = output
            elif command.kind == "running":
                assert output == real(command.output)
            else:
                assert command.output in output
        assert all(program.process.returncode is None for program in serving.values())
        one, other = (program for line, program in serving.items() if "chat.py" in line)
        await one.type_line("hello")
        await other.wait_for("< hello")


async def run(line: str, folder: Path) -> str:
    """Run a command until it prints what it has to, which may take its server a moment."""
    with trio.fail_after(PATIENCE):
        while True:
            ended = await trio.run_process(
                line.split(), capture_stdout=True, check=False, cwd=folder, env=ENVIRONMENT
            )
            if not ended.returncode:
                return ended.stdout.decode().strip()


async def wait_ready(program: Program, port: int, *, is_broker: bool) -> None:
    """Wait for a broker; of others the commands behind them tell."""
    if is_broker:
        await until(lambda: is_listening(port))
    assert program.process.returncode is None, program.lines
