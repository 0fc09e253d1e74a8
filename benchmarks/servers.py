"""The servers that are measured, each in a process of its own: the broker, and bare Trio.

The bare servers do the same socket work without a protocol: they accept, receive and send as often
and as much as the broker does, with one task per connection, on :class:`trio.SocketStream`.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from trio_p2p._broker.pipes import PIPE_BYTES
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.server import Broker
from trio_p2p._broker.source_limits import SourceLimits
from trio_p2p._net.sockets import LISTEN_BACKLOG
from trio_p2p._wire.codec import MAX_FRAME_BYTES

from . import frames

_HOST = "127.0.0.1"
_CPUCLOCK_SCHED = 2  # linux/posix-timers.h
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class BareRegistrar:
    """Answers with as many bytes as a broker answers a greeting, and then registrations."""

    async def serve(self, stream: trio.SocketStream) -> None:
        answer = frames.GREETED
        while await stream.receive_some(MAX_FRAME_BYTES):
            await stream.send_all(answer)
            answer = frames.REGISTERED


class BareIntroducer:
    """Sends something to its first client, and an answer, for every request of the others."""

    def __init__(self) -> None:
        self._receiver: trio.SocketStream | None = None

    async def serve(self, stream: trio.SocketStream) -> None:
        if self._receiver is None:
            self._receiver = stream
            await BareRegistrar().serve(stream)
            return
        answer = frames.FIRST_ANSWER
        while await stream.receive_some(MAX_FRAME_BYTES):
            await self._receiver.send_all(frames.FORWARDED)
            await stream.send_all(answer)
            answer = frames.ANSWER


class BareRelay:
    """Splices between two clients and the next two: the least that a relay on Trio can do."""

    def __init__(self) -> None:
        self._waiting: tuple[trio.SocketStream, trio.Event] | None = None

    async def serve(self, stream: trio.SocketStream) -> None:
        if self._waiting is None:
            is_over = trio.Event()
            self._waiting = stream, is_over
            await is_over.wait()
            return
        (other, is_over), self._waiting = self._waiting, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, stream, other)
            await self._carry(other, stream)
        is_over.set()

    async def _carry(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        source_descriptor, target_descriptor = source.socket.fileno(), target.socket.fileno()
        count = 1
        while count:
            await trio.lowlevel.wait_readable(source_descriptor)
            left = count = os.splice(source_descriptor, writing, PIPE_BYTES)
            while left:
                try:
                    left -= os.splice(reading, target_descriptor, left)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(target_descriptor)
        target.socket.shutdown(trio.socket.SHUT_WR)
        os.close(reading)
        os.close(writing)


async def _serve_bare(
    server: BareRegistrar | BareIntroducer | BareRelay,
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await server.serve(stream)

    listeners = await trio.open_tcp_listeners(0, host=_HOST, backlog=LISTEN_BACKLOG)
    await trio.serve_listeners(serve, listeners, task_status=task_status)


_MANY = 100_000  # circuits: all of a benchmark are the same two peers'


async def _serve_broker(
    broker: Broker, *, task_status: trio.TaskStatus[list[trio.SocketListener]]
) -> None:
    listeners = await trio.open_tcp_listeners(0, host=_HOST, backlog=LISTEN_BACKLOG)
    await broker.serve_listeners(listeners, task_status=task_status)


def _generous_broker() -> Broker:
    """A broker that does not mind that all its clients come from one address."""
    return Broker(
        RelayLimits(circuits_per_ip=_MANY, circuits_per_identity=_MANY),
        source_limits=SourceLimits(introductions=_MANY),
    )


SERVERS: dict[str, Callable[..., Awaitable[None]]] = {
    "broker": partial(_serve_broker, _generous_broker()),
    "public broker": partial(_serve_broker, Broker(RelayLimits())),
    "bare registrar": partial(_serve_bare, BareRegistrar()),
    "bare introducer": partial(_serve_bare, BareIntroducer()),
    "bare relay": partial(_serve_bare, BareRelay()),
}


@attrs.frozen
class ServerProcess:
    """A server that runs, and what it has used of the machine."""

    pid: int
    port: int

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return _HOST, self.port

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far, user and system, of all its threads."""
        # clock_getcpuclockid(3), which Python lacks: finer than the ticks of /proc/PID/stat.
        return time.clock_gettime(~self.pid << 3 | _CPUCLOCK_SCHED)

    @property
    def resident_bytes(self) -> int:
        """The resident set size now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES


@contextmanager
def running_server(name: str) -> Generator[ServerProcess]:
    """A server process that ends with the block, or with us."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield ServerProcess(process.pid, int(process.stdout.readline()))
        finally:
            process.stdin.close()


@contextmanager
def staying_on_one_core() -> Generator[None]:
    """Keep this process, and those that it starts meanwhile, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


async def _serve(name: str) -> None:
    """Serve until standard input ends."""
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(SERVERS[name])
        print(listener.socket.getsockname()[1], flush=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        nursery.cancel_scope.cancel(reason="standard input has ended")


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1])
