"""The programs of ``examples/`` as a reader runs them: processes with pipes."""

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .loopback import PATIENCE

FOLDER = Path(__file__).parents[2] / "examples"
ENVIRONMENT = {
    # The commands of this environment, whatever the PATH is.
    "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "error",
}


def argv(name: str, *arguments: str) -> list[str]:
    """What runs an example."""
    return [sys.executable, "-X", "utf8", str(FOLDER / f"{name}.py"), *arguments]


async def run_example(name: str, *arguments: str) -> str:
    """Run an example to its end; what it has printed."""
    with trio.fail_after(PATIENCE):
        ended = await trio.run_process(argv(name, *arguments), capture_stdout=True, env=ENVIRONMENT)
    return ended.stdout.decode()


class Program:
    """An example that runs.

    Attributes:
        process: its process.
        lines: what it has printed, also on standard error.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = trio.lowlevel.ParkingLot()

    async def type_line(self, line: str) -> None:
        """Write to its standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{line}\n".encode())

    async def end_input(self) -> None:
        """End its standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def wait_for(self, text: str, count: int = 1) -> str:
        """The last of so many lines with a text in them, once they are printed."""
        with trio.fail_after(PATIENCE):
            while len(found := [line for line in self.lines if text in line]) < count:
                assert self.process.returncode is None, self.lines
                await self._changed.park()
        return found[count - 1]

    async def interrupt(self) -> None:
        """Press Ctrl-C, and wait for its end."""
        self.process.send_signal(signal.SIGINT)
        await self.wait_ended()

    async def wait_ended(self) -> int:
        """Wait for its end; its exit status."""
        with trio.fail_after(PATIENCE):
            return await self.process.wait()

    async def read(self) -> None:
        """Read what it prints, until it has ended."""
        assert self.process.stdout is not None
        rest = b""
        async for data in self.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            self.lines.extend(line.decode() for line in lines)
            self._changed.unpark_all()
        await self.process.wait()
        self._changed.unpark_all()


@asynccontextmanager
async def open_example(name: str, *arguments: str) -> AsyncGenerator[Program]:
    """Run an example; at the end of the block it is killed if it still runs."""
    async with open_program(argv(name, *arguments)) as program:
        yield program


@asynccontextmanager
async def open_program(argv: Sequence[str], folder: Path | None = None) -> AsyncGenerator[Program]:
    """Run a program; at the end of the block it is killed if it still runs."""
    process = await trio.lowlevel.open_process(
        argv,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    program = Program(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.read)
        try:
            yield program
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
