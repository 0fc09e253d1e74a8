"""``trio-p2p expose`` and ``forward`` as processes, and TCP programs at both of their ends."""

import errno
import re
import select
import socket
import struct
import time
from collections.abc import Generator
from contextlib import contextmanager

from .commands import SECONDS, BrokerTool, Tool, command

HOST = "127.0.0.1"
_ABORTING = struct.pack("ii", 1, 0)


@contextmanager
def open_service() -> Generator[tuple[socket.socket, str]]:
    """What listens at a port of loopback, and its place as ``expose`` wants it."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(SECONDS)
        yield listener, f"{HOST}:{listener.getsockname()[1]}"


def accept(listener: socket.socket) -> socket.socket:
    """The next connection to a service."""
    connection, _ = listener.accept()
    connection.settimeout(SECONDS)
    return connection


def dial(port: int) -> socket.socket:
    """A connection to a local port."""
    return socket.create_connection((HOST, port), SECONDS)


def dial_when_there(port: int) -> socket.socket:
    """A connection to a port that a program is about to listen on."""
    for _ in range(SECONDS * 50):
        try:
            return dial(port)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("nothing listens there")


def abort(connection: socket.socket) -> None:
    """Close a connection by a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTING)
    connection.close()


def wait_reset(connection: socket.socket) -> None:
    """Wait until a connection is reset, which does not depend on whether it is read."""
    poll = select.poll()
    poll.register(connection, 0)  # errors and the like are told of always
    while not (events := poll.poll(SECONDS * 1000)) or not events[0][1] & select.POLLERR:
        assert events
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert error in {errno.ECONNRESET, errno.EPIPE}  # the latter behind the end of its way


def read_all(connection: socket.socket) -> bytes:
    """What comes until the end of the other side's way."""
    pieces = []
    while piece := connection.recv(2**20):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """The next bytes."""
    pieces = []
    while count:
        piece = connection.recv(min(count, 2**20))
        assert piece
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def start_expose(broker: BrokerTool, uid: str, *arguments: str) -> Tool:
    """What exposes services, as it is started."""
    return Tool(*command("trio-p2p", "expose", uid, *arguments), broker=broker.address)


def start_forward(broker: BrokerTool, *arguments: str) -> Tool:
    """What forwards local ports, as it is started."""
    return Tool(*command("trio-p2p", "forward", *arguments), broker=broker.address)


@contextmanager
def exposing(broker: BrokerTool, uid: str, *arguments: str) -> Generator[Tool]:
    """Services that peers can reach; their lines on standard error are read."""
    with start_expose(broker, uid, *arguments) as tool:
        for argument in arguments:
            if not argument.startswith("-"):
                line = tool.errors.readline().decode()
                assert line.startswith("trio-p2p: exposing "), line
        yield tool


@contextmanager
def forwarding(broker: BrokerTool, *arguments: str) -> Generator[tuple[Tool, int]]:
    """A local port that leads to a service, and the tool that it belongs to."""
    with start_forward(broker, *arguments) as tool:
        yield tool, port_of(tool)


def port_of(tool: Tool) -> int:
    """The next local port that a tool says to be there; with -v, there is more before that."""
    line = ""
    while not line.startswith("trio-p2p: "):
        line = tool.errors.readline().decode()
        assert line
    found = re.fullmatch(r"trio-p2p: .+ is at 127\.0\.0\.1:(\d+)(?: and \[::1\]:\1)?\n", line)
    assert found is not None, line
    return int(found[1])
