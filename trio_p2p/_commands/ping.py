"""``trio-p2p ping``: how long a round trip to a peer takes, by which path, and why by that one."""

from __future__ import annotations

import argparse
import json
from statistics import median

import trio

from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_uid
from .answering import ECHO, unanswered_explained
from .arguments import checked_by, parse_count, parse_seconds
from .peer_options import brokers_of, open_peer_as_told
from .run import CommandError
from .seen_path import FailedAttempts, described, path_as_json
from .standard_streams import require_standard_streams, write_line
from .trusted_receiver import TrustedReceiver

PROBE_BYTES = 8
DEFAULT_COUNT, DEFAULT_INTERVAL = 10, 1.0
LAST_WORDS_TIME = 1.0  # seconds until an interrupted command gives up to write its last lines


def add_ping_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Measures round trips to a peer that runs `trio-p2p answer`, and says by which path they "
        "went, and if it is the relay's, why."
    )
    parser.add_argument(
        "uid", metavar="UID", type=checked_by(parse_uid), help="the UID that the peer answers under"
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
    parser.add_argument("--json", action="store_true", help="print JSON, at the end, for programs")
    parser.set_defaults(raw=False)


async def ping(options: argparse.Namespace) -> None:
    """Measure round trips, and print them."""
    require_standard_streams()
    failed = FailedAttempts()
    async with open_peer_as_told(options, tracer=failed) as peer:
        broker = brokers_of(options)[0].address
        receiver = TrustedReceiver(peer, broker, options.uid, options.expect)
        began_at = trio.current_time()
        async with await receiver.open_stream(protocol=ECHO, wait=options.wait) as stream:
            pings = _Pings(options, stream, trio.current_time() - began_at, failed)
            try:
                await pings.run()
            finally:  # also when interrupted
                with trio.move_on_after(LAST_WORDS_TIME, shield=True):
                    await pings.conclude()


class _Pings:
    def __init__(
        self,
        options: argparse.Namespace,
        stream: P2PStream,
        connect_time: float,
        failed: FailedAttempts,
    ) -> None:
        self._options = options
        self._stream = stream
        self._connect_time = connect_time
        self._failed = failed
        self._round_trips: list[float] = []

    async def run(self) -> None:
        options, stream = self._options, self._stream
        if not options.json:
            milliseconds = 1000 * self._connect_time
            await write_line(f"connected to {stream.peer_id} in {milliseconds:.1f} ms")
        for number in range(1, options.count + 1):
            began_at = trio.current_time()
            with unanswered_explained():
                await _exchange(stream, number)
            seconds = trio.current_time() - began_at
            self._round_trips.append(seconds)
            if not options.json:
                await write_line(f"{number}: {1000 * seconds:.1f} ms  {described(stream.path)}")
            if number < options.count:
                await trio.sleep_until(began_at + options.interval)

    async def conclude(self) -> None:
        """Say what came of it all, if anything did."""
        if not self._round_trips:
            return
        path = self._stream.path
        if self._options.json:
            await write_line(json.dumps(self._as_json(), indent=2))
            return
        times = [1000 * seconds for seconds in self._round_trips]
        await write_line(
            f"{len(times)} round trip{'s' * (len(times) > 1)}: at least {min(times):.1f}, "
            f"median {median(times):.1f}, at most {max(times):.1f} ms"
        )
        for line in self._failed.explain(path):
            await write_line(line)

    def _as_json(self) -> dict[str, object]:
        return {
            "uid": self._options.uid,
            "peer_id": str(self._stream.peer_id),
            "seconds_to_connect": self._connect_time,
            "round_trips": self._round_trips,
            **path_as_json(self._stream.path),
            "failed_attempts": self._failed.as_json(),
        }


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
