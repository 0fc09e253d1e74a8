"""What the files in ``deploy/`` have a host do, done here: the very commands, as processes.

Nothing of it is installed on this host: what is in ``/opt/trio-p2p`` and ``/etc/trio-p2p`` there is
elsewhere here, and the ports, which are fixed, are those of a network namespace.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import dockerfile
import yaml

from trio_p2p._lab.namespaces import Namespace

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
INSTALLED = "/opt/trio-p2p"
CONFIGURED = "/etc/trio-p2p/broker.toml"
SECONDS = 60  # that nothing takes


def read_image() -> tuple[dockerfile.Command, ...]:
    """All instructions of the Dockerfile, as BuildKit's own parser reads them."""
    commands: tuple[dockerfile.Command, ...] = dockerfile.parse_file(str(DEPLOY / "Dockerfile"))
    return commands


def values_of(instruction: str) -> list[tuple[str, ...]]:
    """What stands behind each instruction of one kind."""
    return [each.value for each in read_image() if each.cmd.upper() == instruction]


def read_compose() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    broker: dict[str, Any] = service["services"]["broker"]
    return broker


def unit_setting(name: str) -> str:
    """The last value of a setting of the service's unit."""
    text = (DEPLOY / "trio-p2p-broker.service").read_text("utf-8")
    values: list[str] = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    return values[-1]


def here(text: str, environment: Path) -> str:
    """A text in which paths of the installed broker are those of this host."""
    config = str(DEPLOY / "broker.toml")
    return text.replace(INSTALLED, str(environment)).replace(CONFIGURED, config)


class Process:
    """A broker in a network namespace, which has the ports to itself."""

    def __init__(self, namespace: Namespace, argv: Sequence[str], extra: Mapping[str, str]) -> None:
        self._namespace = namespace
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "error"}
        self._process = namespace.call(
            lambda: subprocess.Popen(
                argv, env={**self._environment, **extra}, stderr=subprocess.PIPE, text=True
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _errors(self) -> IO[str]:
        assert self._process.stderr is not None
        return self._process.stderr

    def wait_for(self, text: str) -> str:
        """The first line with a text in it that the broker writes from now on."""
        for line in self._errors:
            if text in line:
                return line
        raise AssertionError(f"the broker has ended without a line with {text!r}")

    def run(self, argv: Sequence[str]) -> int:
        """The exit code of a command in the same namespace."""
        return self._namespace.call(
            lambda: (
                subprocess.run(
                    argv, env=self._environment, capture_output=True, check=False, timeout=SECONDS
                ).returncode
            )
        )

    def end(self, signal_number: int) -> int:
        """Tell the broker to end; its exit code."""
        self._process.send_signal(signal_number)
        self._process.communicate(timeout=SECONDS)
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def running(argv: Sequence[str], extra: Mapping[str, str] | None = None) -> Generator[Process]:
    with Namespace("deployed") as namespace:
        process = Process(namespace, argv, extra or {})
        try:
            yield process
        finally:
            process.kill()


def check_image_runs(environment: Path) -> None:
    """Run what the image runs, as the compose file has it run, and look as its health check does.

    Args:
        environment: what stands in the place of ``/opt/trio-p2p``.
    """
    [entrypoint], [arguments], [health] = map(values_of, ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    [[stop_signal]] = values_of("STOPSIGNAL")
    kind, *look = health
    assert kind == "CMD"
    argv = [here(each, environment) for each in (*entrypoint, *arguments)]
    with running(argv, read_compose()["environment"]) as broker:
        broker.wait_for("status page on ")
        assert broker.run(look) == 0
        assert broker.end(signal.Signals[stop_signal]) == 0
        assert broker.run(look) != 0


def unit_command(name: str, environment: Path) -> list[str]:
    """The command of a setting of the service's unit."""
    return shlex.split(here(unit_setting(name), environment))
