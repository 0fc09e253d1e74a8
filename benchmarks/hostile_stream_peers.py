"""The programs of attacks by streams: a receiver, an honest sender, and an attacker.

A receiver runs a broker, too, prints the address, and serves until its input ends. An honest
sender has one stream; for each line that it reads, with a number of seconds, it plays ping-pong for
so long and prints the median and the 99th percentile in seconds. An attacker prints a line; for
each line that it reads, it is admitted like any other peer, attacks for so many seconds, and prints
how many frames it has sent. It makes each of them anew, in Python.
"""

import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import chain, count, cycle
from statistics import median, quantiles
from typing import Final

import trio

from tests.kit.raw_connection import RawConnection
from trio_p2p import Identity, P2PStream, open_peer
from trio_p2p._connect.direct import DirectDialer
from trio_p2p._net.attempt_log import AttemptLog
from trio_p2p._stream.credit import DEFAULT_STREAMS, FIRST_CREDIT, first_credit
from trio_p2p._stream.frames import Kind, header
from trio_p2p._stream.handshake import secure
from trio_p2p._stream.stream_frames import (
    DEFAULT_NAMES,
    HEADER_BYTES,
    MAX_STREAM_NUMBER,
    STOP_FLAG,
    ResetCode,
    StreamFrameKind,
    StreamNames,
    credit_frame,
    open_frame,
    reset_frame,
    stream_header,
)
from trio_p2p._stream.tls import make_context
from trio_p2p._wire.messages import StreamKind

from .request_programs import split_address
from .stream_ways import DIRECT, open_broker

UID, SLOW, IDLE = "attacked", "slow", "idle"
PING = b"?" * 100
BURST = 240  # frames that an attacker makes before it sends them
UNANSWERED = DEFAULT_STREAMS - BURST  # streams that it has open at most, to be within the limit
BYTE = stream_header(StreamFrameKind.DATA, 0, 1) + b"x"  # of the first stream


# The receiver


async def receive(host: str) -> None:
    async with (
        open_broker(host) as port,
        open_peer((host, port), techniques=DIRECT, grace=0.0) as peer,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(peer.serve, UID, _echo)
        await nursery.start(partial(peer.serve, UID, _read_slowly, protocol=SLOW))
        await nursery.start(partial(peer.serve, UID, _read_nothing, protocol=IDLE))
        print(f"{host}:{port}", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel(reason="the benchmark is done with this process")


async def _echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def _read_slowly(stream: P2PStream) -> None:
    while await stream.receive_some(1):  # noqa: ASYNC110 - it is slow
        await trio.sleep(0.001)


async def _read_nothing(stream: P2PStream) -> None:
    await stream.wait_path_changed(stream.path)


# The honest sender


async def play_ping_pong(address: str) -> None:
    async with (
        open_peer(split_address(address), techniques=DIRECT) as peer,
        await peer.open_stream(UID) as stream,
    ):
        print(flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            took, ends_at = list[float](), trio.current_time() + float(line)
            while trio.current_time() < ends_at or len(took) < 2:
                began_at = trio.current_time()
                await stream.send_all(PING)
                left = len(PING)
                while left:
                    left -= len(await stream.receive_some(left))
                took.append(trio.current_time() - began_at)
            print(median(took), quantiles(took, n=100, method="inclusive")[-1], flush=True)


# The attacker


class Attacker:
    """An admitted peer that says what it likes.

    Args:
        connection: its connection, on which it has greeted.

    Attributes:
        connection: the same.
        sent: how many frames it has sent, of streams or of the session.
    """

    def __init__(self, connection: RawConnection) -> None:
        self.connection = connection
        self.sent = 0
        self._numbers = count(step=2)

    def open(self, protocol: str = "", credit: int = FIRST_CREDIT) -> bytes:
        """Open the next stream."""
        names = StreamNames("", protocol) if protocol else DEFAULT_NAMES
        return open_frame(next(self._numbers), names, credit)

    def open_and_reset(self) -> tuple[bytes, bytes]:
        """Open the next stream, and reset it."""
        number = next(self._numbers)
        opening = open_frame(number, DEFAULT_NAMES, FIRST_CREDIT)
        return opening, reset_frame(number, ResetCode.ABORTED, "")

    async def say(self, *frames: bytes) -> None:
        """Send frames of streams."""
        await self.connection.say(*frames)
        self.sent += len(frames)

    async def say_bursts(self, make: Callable[[], bytes], bursts: Iterable[object]) -> None:
        """Send frames, one burst after another."""
        for _ in bursts:
            await self.say(*(make() for _ in range(BURST)))

    async def until_said(self, kind: int, least: int = 1) -> None:
        """Wait until the receiver has said so many frames of a kind."""
        while self.connection.said[kind] < least:  # noqa: ASYNC110 - it is polled
            await trio.sleep(0.001)

    async def until_finished(self, least: int) -> None:
        """Wait until the receiver is done with so many streams."""
        while self.connection.finished < least:  # noqa: ASYNC110 - it is polled
            await trio.sleep(0.001)


async def _open_and_reset(attacker: Attacker) -> None:
    for opened in count(BURST, BURST):
        await attacker.until_finished(opened - UNANSWERED)
        await attacker.say(*chain.from_iterable(attacker.open_and_reset() for _ in range(BURST)))


async def _open_unknown(attacker: Attacker) -> None:
    for opened in count(BURST, BURST):
        await attacker.until_finished(opened - UNANSWERED)
        names = range(opened, opened + BURST)
        await attacker.say(*(attacker.open(f"{name:0128}") for name in names))


async def _give_useless_credit(attacker: Attacker) -> None:
    await attacker.say(attacker.open(), BYTE)
    for echoed in range(1, 10):  # then the handler's own task receives for its connection
        await attacker.until_said(StreamFrameKind.DATA, echoed)
        await attacker.say(BYTE)
    await attacker.say_bursts(lambda: credit_frame(0, 1), count())


async def _give_single_bytes_of_credit(attacker: Attacker) -> None:
    size = FIRST_CREDIT // 2 - BURST
    await attacker.say(attacker.open(credit=size))
    for _ in range(2):
        await attacker.say(stream_header(StreamFrameKind.DATA, 0, size) + bytes(size))
        await attacker.until_said(StreamFrameKind.CREDIT)
    limits = count(size + 1)
    await attacker.say_bursts(lambda: credit_frame(0, next(limits)), range(size // BURST))


async def _fill_all_streams(attacker: Attacker) -> None:
    for others in range(DEFAULT_STREAMS):
        size = first_credit(others)
        data = stream_header(StreamFrameKind.DATA, 2 * others, size) + bytes(size)
        await attacker.say(attacker.open(IDLE, size), data)
    numbers = count(step=2)
    await attacker.say_bursts(
        lambda: stream_header(StreamFrameKind.DATA, next(numbers) % (2 * DEFAULT_STREAMS)), count()
    )


async def _send_behind_reset(attacker: Attacker) -> None:
    await attacker.say(*attacker.open_and_reset())
    await attacker.until_finished(1)
    await attacker.say_bursts(lambda: stream_header(StreamFrameKind.DATA, 0, 1) + b"x", count())


async def _send_single_bytes(attacker: Attacker) -> None:
    await attacker.say(attacker.open(SLOW))
    await attacker.say_bursts(
        lambda: stream_header(StreamFrameKind.DATA, 0, 1) + b"x", range(FIRST_CREDIT // BURST)
    )


async def _say_goaway(attacker: Attacker) -> None:
    await attacker.say(*(attacker.open(IDLE) for _ in range(DEFAULT_STREAMS)))
    numbers = count()
    await attacker.say_bursts(
        lambda: stream_header(StreamFrameKind.GOAWAY, MAX_STREAM_NUMBER - next(numbers)), count()
    )


async def _change_limit(attacker: Attacker) -> None:
    limits = cycle([0, MAX_STREAM_NUMBER])
    await attacker.say_bursts(lambda: stream_header(StreamFrameKind.STREAMS, next(limits)), count())


async def _say_stop(attacker: Attacker) -> None:
    await attacker.say(attacker.open(IDLE))
    await attacker.say_bursts(lambda: stream_header(STOP_FLAG, 0), count())


async def _ping(attacker: Attacker) -> None:
    while True:
        await attacker.connection.send(b"".join(header(Kind.PING, 0) for _ in range(BURST)))
        attacker.sent += BURST


async def _send_single_bytes_of_the_session(attacker: Attacker) -> None:
    connection, data = attacker.connection, attacker.open() + BYTE
    frames = (header(Kind.DATA, at, 1) + data[at : at + 1] for at in range(len(data)))
    await connection.send(b"".join(frames))
    for sent in count(len(data), HEADER_BYTES * BURST):
        data = stream_header(StreamFrameKind.DATA, 0) * BURST
        frames = (header(Kind.DATA, sent + at, 1) + data[at : at + 1] for at in range(len(data)))
        await connection.send(b"".join(frames))
        attacker.sent += len(data)


ATTACKS: Final[dict[str, Callable[[Attacker], Awaitable[None]]]] = {
    "OPEN and RESET": _open_and_reset,
    "OPEN, unknown protocol": _open_unknown,
    "CREDIT, useless": _give_useless_credit,
    "CREDIT, by one byte": _give_single_bytes_of_credit,
    "all streams full, empty DATA": _fill_all_streams,
    "DATA behind RESET": _send_behind_reset,
    "DATA of one byte": _send_single_bytes,
    "GOAWAY": _say_goaway,
    "STREAMS": _change_limit,
    "STOP": _say_stop,
    "PING of the session": _ping,
    "one byte in a session's frame": _send_single_bytes_of_the_session,
}


async def attack(name: str, address: str) -> None:
    print(flush=True)
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        identity = Identity.generate()
        async with open_peer(split_address(address), identity=identity, techniques=DIRECT) as peer:
            dialer = DirectDialer(peer._controls, UID, StreamKind.SESSION)
            dialled = await dialer.dial(AttemptLog(logging.getLogger(__name__)))
            path, _, _ = await secure(dialled, make_context(identity), server_side=False)
            connection = RawConnection(path)
            await connection.greet()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.listen)
                attacker = Attacker(connection)
                with trio.move_on_after(float(line)):
                    await ATTACKS[name](attacker)
                    await trio.sleep_forever()
                if connection.is_over:
                    raise RuntimeError(f"the receiver has ended the connection of {name!r}")
                print(attacker.sent, flush=True)
                nursery.cancel_scope.cancel(reason="the attack is over")
            dialled.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receiver", host]:
            trio.run(receive, host)
        case ["honest", address]:
            trio.run(play_ping_pong, address)
        case ["attacker", name, address]:
            trio.run(attack, name, address)
