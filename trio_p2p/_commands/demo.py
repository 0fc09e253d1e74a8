"""``trio-p2p demo``: a broker, a receiver and a sender, and how they come together, as a story."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from subprocess import CalledProcessError
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from .._attempt import Technique
from .._broker.serve import serve_broker
from .._errors import P2PError
from .._lab.namespaces import (
    NamespacesUnavailableError,
    enter_user_namespace_if_needed,
    start_thread,
)
from .._lab.networks import KernelNetwork, Nat
from .._lab.programs import Place, run, running
from .._net.sockets import local_endpoint
from .._peer.opening import open_peer
from .._stream.p2p_stream import P2PStream
from .._stream.stream_path import PathKind, StreamPath
from .narration import Narrator, time_and_place, way_of
from .run import EXIT_FAILED, CommandError, shown_as_error
from .standard_streams import end_standard_output, printable, require_standard_streams
from .terminal import columns_of, fitted

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

UID = "demo"
GREETING = b"hello through the NATs"
ACTS = {
    "fast introduction": [Technique.FAST],
    "classic introduction": [Technique.CLASSIC],
    # The relay is there sooner than a classic introduction, so that there is something to see.
    "relay, and from there to a direct path": [Technique.CLASSIC, Technique.RELAY],
}
_STORY = list(ACTS.values())[-1]  # the one with most to see


@attrs.frozen
class _Scene:
    """Where the three programs run, and the address that the broker has there."""

    broker: Place
    receiver: Place
    sender: Place
    address: str
    picture: str


class _ThisHost:
    """A place without a namespace."""

    def submit(self, function: Callable[[*Ts], T], /, *args: *Ts) -> Future[T]:
        return start_thread(partial(function, *args), name="demo")


_PICTURE = """\
                  broker {broker}
                   /                      \\
  {receiver_nat:19}                    {sender_nat}
            |                                 |
  receiver {receiver:17}             sender {sender}"""
_INDENT = " " * 15  # below what stands behind a time
_NO_NAT = "no NAT"
_HERE = _Scene(
    _ThisHost(),
    _ThisHost(),
    _ThisHost(),
    "127.0.0.1",
    _PICTURE.format(
        broker="127.0.0.1",
        receiver_nat=_NO_NAT,
        sender_nat=_NO_NAT,
        receiver="127.0.0.1",
        sender="127.0.0.1",
    ),
)


class _Screen:
    """Standard output, for several threads, which do not end where it can be written no more."""

    def __init__(self) -> None:
        self._error: OSError | None = None

    def show(self, line: str) -> None:
        """Print a line at once."""
        try:
            shown = printable(fitted(line, columns_of(sys.stdout), _INDENT))
            print(shown + "\n", end="", flush=True)
        except OSError as error:
            self._error = self._error or error
            end_standard_output()

    def check(self) -> None:
        """Make sure that all was printed, or that its reader did not want all.

        Raises:
            CommandError: it was not.
        """
        if self._error is not None and not isinstance(self._error, BrokenPipeError):
            raise CommandError(f"standard output cannot be written: {self._error.strerror}")


def demonstrate(*, with_nats: bool, verbose: bool) -> int:
    """Connect two peers, and show how; the exit code.

    Args:
        with_nats: whether to put the peers behind NATs.
        verbose: whether to connect them in each way, and show all that goes over the wire.
    """
    screen = _Screen()
    try:
        require_standard_streams()
        with ExitStack() as stack:
            scene = _scene(stack) if with_nats else _HERE
            screen.show(scene.picture)
            if not verbose:
                screen.show("")
                screen.show("\n" + _perform(scene, _STORY, screen, verbose=False))
            else:
                for title, techniques in ACTS.items():
                    screen.show(f"\n{title}")
                    screen.show(_perform(scene, techniques, screen, verbose=True))
        screen.check()
    except (P2PError, CommandError) as error:
        print(shown_as_error(f"trio-p2p: {error}"), file=sys.stderr)
        return EXIT_FAILED
    return 0


def _scene(stack: ExitStack) -> _Scene:
    """Two NATs, which last as long as the stack; or none, if none can be made."""
    try:
        enter_user_namespace_if_needed()
        network = stack.enter_context(KernelNetwork())
        broker = network.add_host()
        receiver, sender = network.add_site(Nat()), network.add_site(Nat())
    except (NamespacesUnavailableError, CalledProcessError) as error:
        # The tools explain themselves in a note.
        reason = " ".join([str(error), *getattr(error, "__notes__", [])]).strip()
        text = f"trio-p2p: no NATs can be made here, so the demo does without. {reason}"
        print(shown_as_error(text), file=sys.stderr)
        return _HERE
    return _Scene(
        broker.host,
        receiver.host,
        sender.host,
        str(broker.host_address),
        _PICTURE.format(
            broker=broker.host_address,
            receiver_nat=f"NAT {receiver.public_address}",
            sender_nat=f"NAT {sender.public_address}",
            receiver=str(receiver.host_address),
            sender=str(sender.host_address),
        ),
    )


def _perform(
    scene: _Scene, techniques: Sequence[Technique], screen: _Screen, *, verbose: bool
) -> str:
    """Show how a receiver and a sender connect, and what came of it."""
    with (
        _steps_shown(screen, verbose=verbose),
        running(scene.broker, _broker, scene.address) as broker,
        running(scene.receiver, _receive, broker, techniques),
    ):
        return run(scene.sender, _send, broker, techniques)


async def _broker(host: str, *, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(serve_broker, 0, host=host))
        task_status.started((host, local_endpoint(listener.socket).port))


async def _receive(
    broker: tuple[str, int],
    techniques: Sequence[Technique],
    *,
    task_status: trio.TaskStatus[object],
) -> None:
    async def echo(stream: P2PStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with open_peer(broker, techniques=techniques) as peer:
        await peer.serve(UID, echo, task_status=task_status)


async def _send(broker: tuple[str, int], techniques: Sequence[Technique]) -> str:
    started_at = trio.current_time()

    def elapsed() -> str:
        return f"{1000 * (trio.current_time() - started_at):.1f} ms"

    async with (
        open_peer(broker, techniques=techniques) as peer,
        await peer.open_stream(UID) as stream,
    ):
        began = stream.path
        lines = [f"connected in {elapsed()}: {_shown(began)}"]
        await stream.send_all(GREETING)
        if Technique.RELAY in techniques:
            while stream.path is None or stream.path.kind is PathKind.RELAY:
                await stream.wait_path_changed(stream.path)
            if stream.path is not began:
                lines.append(f"moved after {elapsed()}: {_shown(stream.path)}")
            await stream.send_all(GREETING)
        await stream.send_eof()
        echoed = b"".join([data async for data in stream])
    if not echoed or echoed.replace(GREETING, b""):
        raise P2PError(f"the receiver echoed {echoed!r}: please report this")
    totals = stream.connection.statistics()
    lines.append(
        f"{len(echoed)} bytes came back, encrypted; in all {totals.sent} bytes went and "
        f"{totals.received} came, over {1 + totals.moves} path{'s' * bool(totals.moves)}"
    )
    lines.append(f"the peer has proven to be {stream.peer_id}")
    return "\n".join(lines)


def _shown(path: StreamPath | None) -> str:
    return "no path" if path is None else f"{way_of(path)}, to {path.remote}"


@contextmanager
def _steps_shown(screen: _Screen, *, verbose: bool) -> Generator[None]:
    """Print what the library logs, or what that tells of each step, with the time since now."""
    started_at = time.perf_counter()
    narrator = Narrator()

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            milliseconds = 1000 * (time.perf_counter() - started_at)
            if verbose:
                screen.show(time_and_place(record, milliseconds) + record.getMessage())
            elif line := narrator.line_of(record, milliseconds):
                screen.show(line)

    logger = logging.getLogger("trio_p2p")
    printer, level = Printer(), logger.level
    logger.addHandler(printer)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.setLevel(level)
