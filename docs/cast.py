"""A terminal's recording of a first stream, as asciicast 2.

``python docs/cast.py`` records it anew, into ``first_stream.cast``, which ``asciinema play`` plays.
Three programs run in one terminal; a prompt says whose each command is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

CAST = Path(__file__).parent / "first_stream.cast"
COLUMNS, LINES = 80, 24
PORT = 4433
BYE_TIME = 30.0  # seconds for a program to end by itself

# Who types it, what, and what its last line has in it before the next one types.
COMMANDS = (
    ("broker", "trio-p2p-broker --host 127.0.0.1 --port {port}", "probes"),
    (
        "receiver",
        "echo hello | trio-p2p listen my-uid --broker 127.0.0.1:{port}",
        "waiting for a peer",
    ),
    ("sender", "trio-p2p connect my-uid --broker 127.0.0.1:{port}", ""),
)


class Recording:
    """What a terminal shows, and when."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str]] = []
        self._started_at = time.monotonic()

    def show(self, text: str) -> None:
        """Show text now."""
        self.events.append((round(time.monotonic() - self._started_at, 3), text))

    def as_cast(self) -> str:
        """The recording as asciicast 2."""
        header = {"version": 2, "width": COLUMNS, "height": LINES, "title": "A first stream"}
        rows = [header, *([seconds, "o", text] for seconds, text in self.events)]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def record(commands: Sequence[tuple[str, str, str]], port: int, folder: Path) -> Recording:
    """Run the commands, each when the one before is ready, and the last one to its end.

    Args:
        commands: who types it, what, and what the line has in it by which it is ready.
        port: of the broker.
        folder: where the programs keep their keys.
    """
    recording = Recording()
    with ExitStack() as stack:
        programs = []
        for name, line, ready in commands:
            typed = line.format(port=port)
            recording.show(f"{name} $ {line.format(port=PORT)}\r\n")
            environment = {"PATH": _path(), "XDG_CONFIG_HOME": str(folder / name)}
            program = stack.enter_context(
                subprocess.Popen(  # noqa: S603 - the commands above
                    ["/bin/sh", "-c", f"exec 2>&1; {typed}"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                    process_group=0,
                )
            )
            stack.callback(_end, program)
            programs.append(program)
            _show_until(program, ready, recording, port)
        programs[1].wait(BYE_TIME)
    return recording


def _end(program: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself, the shell and all
        os.killpg(program.pid, signal.SIGINT)


def _show_until(
    program: subprocess.Popen[str], ready: str, recording: Recording, port: int
) -> None:
    assert program.stdout is not None
    for line in program.stdout:
        recording.show(line.replace(str(port), str(PORT)).replace("\n", "\r\n"))
        if ready and ready in line:
            return


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/bin:/bin"


def lines_of(cast: str) -> Iterator[str]:
    """What a recording shows, as lines."""
    rows = [json.loads(row) for row in cast.splitlines()[1:]]
    yield from "".join(text for _, _, text in rows).splitlines()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        CAST.write_text(record(COMMANDS, PORT, Path(folder)).as_cast(), "utf-8")
