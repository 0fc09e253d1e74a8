"""The shell tools as a user has them: processes with pipes."""

import os
import signal
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import pytest

from trio_p2p import Identity

SECONDS = 60  # that nothing takes
MEBIBYTE = 1_048_576
NOBODY = "127.0.0.1:1"  # where no broker listens

Ended = tuple[int, bytes, str]
"""Exit code, what was written to standard output, and to standard error."""


def command(name: str, *arguments: str) -> list[str]:
    """What starts a tool of this environment, whatever the PATH is."""
    return [str(Path(sysconfig.get_path("scripts"), name)), *arguments]


class Tool:
    """A running tool. At the end of the block it is killed if it still runs."""

    def __init__(
        self,
        *argv: str,
        stdin: int | IO[Any] = subprocess.PIPE,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        broker: str = "",
        pass_fds: Sequence[int] = (),
    ) -> None:
        environment = {**os.environ, "TRIO_P2P_BROKER": broker, "PYTHONWARNINGS": "error"}
        # Without buffers, which communicate() would pass by
        self.process = subprocess.Popen(
            argv,
            bufsize=0,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            pass_fds=pass_fds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.end()

    @property
    def input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def errors(self) -> IO[bytes]:
        assert self.process.stderr is not None
        return self.process.stderr

    @property
    def input_is_closed(self) -> bool:
        return self.process.stdin is not None and self.process.stdin.closed

    def say(self, data: bytes) -> None:
        self.input.write(data)

    def end(self, data: bytes | None = None) -> Ended:
        """Write the last input, and wait for the end."""
        if self.input_is_closed:
            self.process.stdin = None  # communicate() would flush it
        output, errors = self.process.communicate(data, timeout=SECONDS)
        return self.process.returncode, output or b"", (errors or b"").decode()

    def signal(self, number: signal.Signals) -> Ended:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        self.process.wait(SECONDS)
        return self.end()


def end_both(one: Tool, other: Tool, *inputs: bytes) -> list[Ended]:
    """Let two tools talk until both have ended."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(Tool.end, (one, other), inputs or (None, None)))


class BrokerTool:
    """A running broker that says what happens."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.address = self.wait_for("trio-p2p-broker: listening on ").split()[-1]

    def wait_for(self, text: str, count: int = 1) -> str:
        """The last of so many lines with a text in them, once they were written."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._with(text)) >= count, SECONDS), text
            return self._with(text)[count - 1]

    @contextmanager
    def expecting_registration(self, uid: str) -> Generator[None]:
        """At the end of the block wait until somebody has asked for a UID since its beginning."""
        text = f"Register(number=0, uid={uid!r}, "
        before = len(self._with(text))
        yield
        self.wait_for(text, before + 1)

    def _with(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; the exit code."""
        self.tool.process.send_signal(number)
        self._reader.join(SECONDS)
        return self.tool.process.wait(SECONDS)

    def _read(self) -> None:
        for line in self.tool.errors:
            with self._changed:
                self.lines.append(line.decode().rstrip())
                self._changed.notify_all()


@contextmanager
def open_broker(*options: str, host: str = "127.0.0.1", port: str = "0") -> Generator[BrokerTool]:
    argv = command("trio-p2p-broker", "-v", "--host", host, "--port", port, *options)
    with Tool(*argv) as tool:
        broker = BrokerTool(tool)
        try:
            yield broker
        finally:
            broker.stop()


def listen(broker: BrokerTool, uid: str, *options: str, quiet: bool = True, **streams: Any) -> Tool:
    """A receiver, registered."""
    argv = command("trio-p2p", "listen", uid, *options)
    if quiet and "-v" not in options:
        argv.append("--quiet")  # so that what is on standard error is an error
    with broker.expecting_registration(uid):
        return Tool(*argv, broker=broker.address, **streams)


def connect(
    broker: BrokerTool, uid: str, *options: str, quiet: bool = True, **streams: Any
) -> Tool:
    argv = command("trio-p2p", "connect", uid, *options)
    if quiet and not {"-v", "--verbose"} & set(options):
        argv.append("--quiet")  # as above
    return Tool(*argv, broker=broker.address, **streams)


def identity_option(directory: Path) -> str:
    """The option for an identity that is not the user's own."""
    file = directory / "other.pem"
    Identity.generate().save(file)
    return f"--identity={file}"


def peer_id(*options: str) -> str:
    """What ``trio-p2p id`` prints."""
    with Tool(*command("trio-p2p", "id", *options)) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    return output.decode().removesuffix("\n")


def assert_sentence(errors: str, start: str, program: str = "trio-p2p") -> None:
    """One line, and it is what the tool has to say."""
    assert errors.startswith(f"{program}: {start}"), errors
    assert errors.count("\n") == 1, errors
    assert errors.endswith("\n")


def run_main(
    main: Any, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The exit code of a command in this process, and what it wrote to standard error."""
    code: Any
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


@contextmanager
def open_false_broker(*, hangs_up: bool) -> Iterator[tuple[str, threading.Event]]:
    """A broker that never answers: its address, and whether somebody has asked."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # which says that this is the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1024)
                        asked.set()
                        while not hangs_up and connection.recv(1024):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)
