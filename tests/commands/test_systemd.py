"""What the broker and systemd say to each other."""

import os
import signal
import socket
import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trio_p2p import LocalProtocolError
from trio_p2p._commands.systemd import (
    FIRST_DESCRIPTOR,
    Notifier,
    inherited_listeners,
    watchdog_interval,
)

from ..kit.commands import SECONDS, Tool, command

pytestmark = pytest.mark.once


@contextmanager
def listening_for_news(name: str) -> Generator[socket.socket]:
    """Where a service tells its news, by the name that it is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(SECONDS)
        yield sock


@pytest.fixture(params=["file", "abstract"])
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "file" else f"@{uuid.uuid4().hex}"


async def test_watchdog_is_told_twice_in_its_interval(name: str, mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    with listening_for_news(name) as news:
        news.setblocking(False)
        with trio.move_on_after(9):
            await Notifier(name).watch(4.0)
        for _ in range(5):  # after 0, 2, 4, 6 and 8 seconds
            assert news.recv(100) == b"WATCHDOG=1"
        with pytest.raises(BlockingIOError):
            news.recv(100)


async def test_without_systemd_nothing_is_said() -> None:
    notifier = Notifier.of({})
    notifier.ready()
    await notifier.watch(None)


def test_systemd_that_does_not_listen_is_no_hindrance(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nothing")).ready()


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_interval_of_the_watchdog(environment: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environment) == interval


def test_broker_tells_how_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "broker.toml"
    config.write_text("")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    argv = command("trio-p2p-broker", "--port=0", "--host=127.0.0.1", "--config", str(config))
    with listening_for_news(name) as news, Tool(*argv) as broker:

        def wait_for(text: bytes) -> None:
            while not news.recv(1000).startswith(text):
                pass

        wait_for(b"READY=1")
        wait_for(b"WATCHDOG=1")
        wait_for(b"WATCHDOG=1")
        broker.process.send_signal(signal.SIGHUP)
        wait_for(b"RELOADING=1\nMONOTONIC_USEC=")
        wait_for(b"READY=1")
        broker.process.send_signal(signal.SIGTERM)
        wait_for(b"STOPPING=1")
        assert broker.end()[0] == 0


# Sockets.

RUN = """
import os, sys
for index, descriptor in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(descriptor, 40 + index)
for index in range(len(sys.argv[1].split(","))):
    os.dup2(40 + index, 3 + index)
    os.close(40 + index)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def started_with(names: str, *sockets: socket.socket) -> Generator[Tool]:
    """A broker that systemd has handed sockets."""
    descriptors = [sock.fileno() for sock in sockets]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    argv = command("trio-p2p-broker", "--port=1")  # where it may not listen itself, unless as root
    run = [sys.executable, "-c", RUN, ",".join(map(str, descriptors)), *argv]
    environment = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        tool = Tool(*run, pass_fds=descriptors)
    with tool:
        yield tool


def test_broker_uses_the_sockets_of_systemd() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as main,
        socket.create_server(("127.0.0.1", 0)) as second,
        started_with("probes:broker", second, main) as broker,
    ):
        main_port, second_port = (sock.getsockname()[1] for sock in (main, second))
        lines = [broker.errors.readline().decode() for _ in range(2)]
        assert lines == [
            f"trio-p2p-broker: listening on 127.0.0.1:{main_port}\n",
            f"trio-p2p-broker: answering probes on 127.0.0.1:{second_port}\n",
        ]
        # It closes its own; a client that comes meanwhile is there for the next broker.
        assert broker.signal(signal.SIGTERM)[0] == 0
        with socket.create_connection(("127.0.0.1", main_port), SECONDS):
            main.settimeout(SECONDS)
            main.accept()[0].close()


def test_socket_that_is_none_of_ours() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong,
        started_with("broker", wrong) as broker,
    ):
        code, _, errors = broker.end()
    assert code == 2
    assert "descriptor 3, which systemd has handed over, is no TCP socket that listens" in errors


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_FDS": "2", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_no_sockets_are_for_this_process(environment: dict[str, str]) -> None:
    assert inherited_listeners(environment) is None


async def test_sockets_for_probes_alone_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        copy = os.dup(sock.fileno())
        monkeypatch.setattr("trio_p2p._commands.systemd.FIRST_DESCRIPTOR", copy)
        environment = {
            "LISTEN_FDS": "1",
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDNAMES": "probes",
        }
        with pytest.raises(LocalProtocolError, match="for probes only"):
            inherited_listeners(environment)
    assert FIRST_DESCRIPTOR == 3
