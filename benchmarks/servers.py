"""The servers that are measured, each in a process of its own: the broker, and bare Trio.

The bare servers do the same socket work without a protocol: they accept, receive and send as often
and as much as the broker does, with one task per connection, on :class:`trio.SocketStream`.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial

import attrs
import trio

from trio_p2p._broker.arrivals import Arrivals
from trio_p2p._broker.limits import BrokerLimits
from trio_p2p._broker.pipes import PIPE_BYTES
from trio_p2p._broker.quota import RelayLimits
from trio_p2p._broker.server import Broker
from trio_p2p._net.sockets import LISTEN_BACKLOG
from trio_p2p._wire.codec import MAX_FRAME_BYTES

from . import frames
from .programs import RunningProcess
from .tls_certificates import make_broker_tls, make_server_context


class BareRegistrar:
    """Answers with as many bytes as a broker answers a greeting, and then registrations."""

    async def serve(self, stream: trio.abc.Stream) -> None:
        answer = frames.GREETED
        while await stream.receive_some(MAX_FRAME_BYTES):
            await stream.send_all(answer)
            answer = frames.REGISTERED


class BareTLSRegistrar:
    """The same in TLS."""

    def __init__(self) -> None:
        self._context = make_server_context()

    async def serve(self, stream: trio.SocketStream) -> None:
        encrypted = trio.SSLStream(stream, self._context, server_side=True)
        await BareRegistrar().serve(encrypted)


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


class Sink:
    """Reads, and does nothing."""

    async def serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some(MAX_FRAME_BYTES):
                pass


async def _serve_bare(
    make: Callable[[], BareRegistrar | BareTLSRegistrar | BareIntroducer | BareRelay | Sink],
    host: str,
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    server = make()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await server.serve(stream)

    listeners = await trio.open_tcp_listeners(0, host=host, backlog=LISTEN_BACKLOG)
    await trio.serve_listeners(serve, listeners, task_status=task_status)


_MANY = 100_000  # circuits: all of a benchmark are the same two peers'


async def _serve_broker(
    make: Callable[[], Broker],
    host: str,
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    listeners = await trio.open_tcp_listeners(0, host=host, backlog=LISTEN_BACKLOG)
    await make().serve_listeners(listeners, task_status=task_status)


def _generous_broker(arrivals: Arrivals | None = None) -> Broker:
    """A broker that does not mind that all its clients come from one address."""
    return Broker(
        RelayLimits(circuits_per_ip=_MANY, circuits_per_identity=_MANY),
        limits=BrokerLimits(
            connections=_MANY,
            connections_per_second=_MANY,
            registrations=_MANY,
            introductions=_MANY,
            messages_per_second=_MANY,
            source_messages_per_second=_MANY,
            memory=1 << 40,
        ),
        arrivals=arrivals,
    )


SERVERS: dict[str, Callable[..., Awaitable[None]]] = {
    "broker": partial(_serve_broker, _generous_broker),
    "broker in TLS": partial(_serve_broker, lambda: _generous_broker(Arrivals(make_broker_tls()))),
    "broker in TLS with RSA": partial(
        _serve_broker, lambda: _generous_broker(Arrivals(make_broker_tls(is_rsa=True)))
    ),
    "public broker": partial(_serve_broker, lambda: Broker(RelayLimits())),
    "bare registrar": partial(_serve_bare, BareRegistrar),
    "bare registrar in TLS": partial(_serve_bare, BareTLSRegistrar),
    "bare introducer": partial(_serve_bare, BareIntroducer),
    "sink": partial(_serve_bare, Sink),
    "bare relay": partial(_serve_bare, BareRelay),
}


@attrs.frozen
class ServerProcess(RunningProcess):
    """A server that runs.

    Attributes:
        port: where it listens.
        host: the IP address of that.
    """

    port: int
    host: str = "127.0.0.1"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.host, self.port


@contextmanager
def running_server(name: str, host: str = "127.0.0.1") -> Generator[ServerProcess]:
    """A server process that ends with the block, or with us."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__, name, host],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield ServerProcess(process.pid, int(process.stdout.readline()), host)
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


async def _serve(name: str, host: str) -> None:
    """Serve until standard input ends."""
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(SERVERS[name], host)
        print(listener.socket.getsockname()[1], flush=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        nursery.cancel_scope.cancel(reason="standard input has ended")


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1], sys.argv[2])
