"""A broker as its operator runs it: ``trio-p2p-broker``, a process that can be killed."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .commands import command
from .loopback import HOST, LIFETIME, reserved_port

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# All clients of a test come from one address.
GENEROUS_OPTIONS = [
    f"--{name}=1000000"
    for name in (
        "limit-connections",
        "limit-connection-rate",
        "limit-registrations",
        "limit-introductions",
        "limit-unknown-uids",
        "limit-probes",
        "limit-watches",
        "limit-message-rate",
        "limit-source-message-rate",
        "relay-circuits-per-ip",
        "relay-circuits-per-identity",
    )
]


class BrokerProcess:
    """A broker at a port of its own, where it can be started again and again.

    Args:
        nursery: of the tasks that read what it writes.
        port: where it listens.
        options: of its command line.

    Attributes:
        lines: what it has written last.
    """

    def __init__(self, nursery: trio.Nursery, port: int, *options: str) -> None:
        self.port = port
        self.lines: deque[str] = deque(maxlen=50)
        self._nursery = nursery
        self._argv = command(
            "trio-p2p-broker", f"--host={HOST}", f"--port={port}", "--probe-port=0", *options
        )
        self._changed = trio.lowlevel.ParkingLot()
        self._process: trio.Process | None = None

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def process(self) -> trio.Process:
        assert self._process is not None
        return self._process

    @property
    def resident_bytes(self) -> int:
        """The resident set size now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE_BYTES

    @property
    def descriptors(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        self._process = await trio.lowlevel.open_process(
            self._argv, stderr=subprocess.PIPE, env=environment
        )
        self.lines.clear()
        self._nursery.start_soon(self._read, self._process)
        await self.wait_for("listening on ")

    async def wait_for(self, text: str) -> str:
        """A line with a text in it, once it is written."""
        while True:
            for line in self.lines:
                if text in line:
                    return line
            assert self.process.returncode is None, self.lines
            await self._changed.park()

    async def kill(self) -> None:
        """Let it end without a word."""
        self.process.kill()
        await self.process.wait()

    async def drain(self) -> int:
        """Let it send its clients away, and wait for its end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def _read(self, process: trio.Process) -> None:
        rest = b""
        assert process.stderr is not None
        async with process.stderr as stderr:
            async for data in stderr:
                *lines, rest = (rest + data).split(b"\n")
                self.lines.extend(line.decode() for line in lines)
                self._changed.unpark_all()
        await process.wait()
        self._changed.unpark_all()


@asynccontextmanager
async def open_broker_process(
    *options: str, lifetime: float = LIFETIME
) -> AsyncGenerator[BrokerProcess]:
    """A broker that runs; at the end of the block it is killed. Also the time limit of that."""
    with trio.fail_after(lifetime), reserved_port() as port:
        async with trio.open_nursery() as nursery:
            broker = BrokerProcess(nursery, port, *options)
            try:
                await broker.start()
                yield broker
            finally:
                broker.process.kill()
                with trio.CancelScope(shield=True):
                    await broker.process.wait()
                    nursery.cancel_scope.cancel(reason="the test is over")
