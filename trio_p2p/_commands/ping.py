"""``trio-p2p ping``: how long a round trip to a peer takes, by which path, and why by that one."""

from __future__ import annotations

import argparse
from statistics import median

import trio

from .._stream.p2p_stream import P2PStream
from .amounts import count_text, milliseconds_text
from .answering import ECHO, unanswered_explained
from .arguments import checked_by, parse_count, parse_seconds
from .layout import Column
from .measuring import Measuring, add_measuring_options, open_measuring
from .run import CommandError
from .seen_path import path_as_json

PROBE_BYTES = 8
DEFAULT_COUNT, DEFAULT_INTERVAL = 10, 1.0
LAST_WORDS_TIME = 1.0  # seconds until an interrupted command gives up to write its last lines
_COLUMNS = (
    Column("#", 3, is_number=True),
    Column("round trip", 10, is_number=True),
    Column("path"),
)


def add_ping_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Measures round trips to a peer that runs `trio-p2p answer`, and by which path."
    )
    parser.add_argument(
        "--count",
        metavar="NUMBER",
        type=checked_by(parse_count),
        default=DEFAULT_COUNT,
        help=f"so many round trips (default: {DEFAULT_COUNT})",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=checked_by(parse_seconds),
        default=DEFAULT_INTERVAL,
        help=f"from one to the next (default: {DEFAULT_INTERVAL:g})",
    )
    add_measuring_options(parser)


async def ping(options: argparse.Namespace) -> None:
    """Measure round trips, and print them."""
    async with open_measuring(options, _COLUMNS) as measuring:
        began_at = trio.current_time()
        async with await measuring.open_stream(ECHO) as stream:
            pings = _Pings(options, measuring, stream, trio.current_time() - began_at)
            try:
                await pings.run()
            finally:  # also when interrupted
                with trio.move_on_after(LAST_WORDS_TIME, shield=True):
                    await pings.conclude()


class _Pings:
    def __init__(
        self,
        options: argparse.Namespace,
        measuring: Measuring,
        stream: P2PStream,
        connect_time: float,
    ) -> None:
        self._options = options
        self._measuring = measuring
        self._stream = stream
        self._connect_time = connect_time
        self._round_trips: list[float] = []

    async def run(self) -> None:
        options, stream = self._options, self._stream
        connected_in = milliseconds_text(self._connect_time)
        await self._measuring.say(f"connected to {stream.peer_id} in {connected_in}")
        for number in range(1, options.count + 1):
            began_at = trio.current_time()
            with unanswered_explained():
                await _exchange(stream, number)
            seconds = trio.current_time() - began_at
            self._round_trips.append(seconds)
            await self._measuring.show(str(number), milliseconds_text(seconds), path=stream.path)
            if number < options.count:
                await trio.sleep_until(began_at + options.interval)

    async def conclude(self) -> None:
        """Say what came of it all, if anything did."""
        if not self._round_trips:
            return
        path = self._stream.path
        times = [1000 * seconds for seconds in self._round_trips]
        await self._measuring.say(
            f"{count_text(len(times), 'round trip')}: at least {min(times):.1f}, "
            f"median {median(times):.1f}, at most {max(times):.1f} ms"
        )
        await self._measuring.conclude(
            path,
            {
                "peer_id": str(self._stream.peer_id),
                "seconds_to_connect": self._connect_time,
                "round_trips": self._round_trips,
                **path_as_json(path),
            },
        )


async def _exchange(stream: P2PStream, number: int) -> None:
    """One round trip."""
    probe = number.to_bytes(PROBE_BYTES, "big")
    await stream.send_all(probe)
    echo = b""
    while len(echo) < PROBE_BYTES:
        data = await stream.receive_some(PROBE_BYTES - len(echo))
        if not data:
            raise CommandError("the peer has ended the stream: it answers no longer")
        echo += data
    if echo != probe:
        raise CommandError("the peer has sent back something else than it was sent")
