"""What attacks on a public broker cost its honest peers: how soon they are introduced.

A kept connection asks for a receiver again and again, and each answer is timed: before an attack
on the broker, during it, and after it. As all processes share this machine, the same is done to
a sink as well, a process that only reads, while peers are introduced by a broker that is left
alone. They have a loopback interface of their own, with IPv6 addresses of several networks.

Limit: no honest peer is dropped or refused, and during the attack the 99th percentile is at most
twice that beside the attack on the sink, and 5 ms.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from statistics import median, quantiles

from . import attack_peers, clients, frames
from .attack_networks import open_place
from .attack_peers import ATTACKS, network_of
from .programs import read_line, send_line
from .servers import ServerProcess, running_server
from .tables import Table

COUNT = 80  # introductions in each phase: a source gets 512 to one receiver in 15 seconds
PAUSE = 0.005  # seconds between two of them
PREPARATION = 0.3  # seconds that an attack has lasted, or been over
FACTOR, ALLOWANCE = 2, 0.005


def measure() -> Table:
    with open_place() as place:
        return place.call(_measure, list(ATTACKS))


def _measure(kinds: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    exceeded: list[str] = []
    for kind in kinds:
        beside = _beside_sink(kind)
        before, during, after = _around(kind)
        for wave, seconds, seconds_beside in zip(ATTACKS[kind], during, beside, strict=True):
            name = kind if wave == 0 else f"{kind}, on {wave}"
            limit = FACTOR * _p99(seconds_beside) + ALLOWANCE
            if min(map(len, (before, seconds, after, seconds_beside))) < COUNT:
                exceeded.append(f"honest peers were dropped: {name}")
            elif _p99(seconds) > limit:
                exceeded.append(f"p99 {1000 * _p99(seconds):.1f} ms: {name}")
            cells = map(_milliseconds, (before, seconds, after, seconds_beside))
            rows.append((name, *cells, f"{1000 * limit:.1f}"))
    return Table(
        "Introductions by a public broker before, during and after an attack on it",
        ("attack", "before", "during", "after", "beside an attack on a sink", "limit of p99"),
        tuple(rows),
        (
            f"Milliseconds, p50 / p99 of {COUNT}.",
            f"Limit: {FACTOR} times the p99 beside an attack on a sink + {1000 * ALLOWANCE:g} ms.",
            "No honest peer may be dropped.",
        ),
        tuple(exceeded),
    )


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100, method="inclusive")[-1] if len(seconds) > 1 else float("nan")


def _milliseconds(seconds: list[float]) -> str:
    return f"{1000 * median(seconds or [0]):.1f} / {1000 * _p99(seconds):.1f}"


def _beside_sink(kind: str) -> list[list[float]]:
    """What introductions took in each wave of an attack on a sink, by a broker that has none."""
    host = network_of(kind).broker
    with (
        running_server("public broker", host) as alone,
        running_server("sink", host) as sink,
        _registered(alone, kind),
    ):
        return _during(kind, alone, sink, 1)


def _around(kind: str) -> tuple[list[float], list[list[float]], list[float]]:
    """What introductions took before, in each wave of, and after an attack on their broker."""
    host = network_of(kind).broker
    with running_server("public broker", host) as server, _registered(server, kind):
        with _kept_sender(server, kind, 1) as sender:
            before = _introduce(sender)
        during = _during(kind, server, server, 2)
        time.sleep(PREPARATION)
        with _kept_sender(server, kind, 3) as sender:
            return before, during, _introduce(sender)


def _during(
    kind: str, server: ServerProcess, target: ServerProcess, number: int
) -> list[list[float]]:
    """What introductions by a broker took in each wave of an attack on some target."""
    with (
        _kept_sender(server, kind, number) as sender,
        subprocess.Popen(
            [sys.executable, "-m", attack_peers.__name__, kind, str(target.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        seconds: list[list[float]] = []
        for wave in ATTACKS[kind]:
            send_line(process, str(wave))
            read_line(process)
            time.sleep(PREPARATION)
            seconds.append(_introduce(sender))
        return seconds


@contextmanager
def _registered(server: ServerProcess, kind: str) -> Generator[None]:
    """A receiver that is asked for."""
    source = network_of(kind).receiver
    with clients.connect_receiver(server.address, source=source) as receiver:
        threading.Thread(target=_read, args=[receiver], daemon=True).start()
        yield


def _read(receiver: socket.socket) -> None:
    with suppress(OSError):
        while receiver.recv(65536):
            pass


@contextmanager
def _kept_sender(server: ServerProcess, kind: str, number: int) -> Generator[socket.socket]:
    """A sender with an address of its own, which the broker has answered once."""
    source = network_of(kind).sender.format(number)
    with clients.connect(server.address, frames.FIRST_REQUEST, source=source) as sender:
        clients.receive(sender)
        yield sender


def _introduce(sender: socket.socket) -> list[float]:
    """Ask for the receiver again and again; seconds until each answer, until there is none."""
    took: list[float] = []
    with suppress(OSError):
        for _ in range(COUNT):
            began = time.perf_counter()
            sender.sendall(frames.REQUEST)
            answer = clients.receive(sender)
            if len(answer) < len(frames.ANSWER) - 16:  # it is a refusal
                break
            took.append(time.perf_counter() - began)
            time.sleep(PAUSE)
    return took
