"""``trio-p2p speed``: how many bytes a second a stream carries, in each direction."""

from __future__ import annotations

import argparse
import json

import trio

from .._errors import LocalProtocolError
from .._stream.p2p_stream import P2PStream
from .._stream.stream_path import StreamPath
from .._wire.uids import parse_uid
from .answering import COUNT_BYTES, MAX_SPEED_TIME, PIECE_BYTES, SINK, SOURCE, unanswered_explained
from .arguments import checked_by, parse_seconds
from .peer_options import brokers_of, open_peer_as_told
from .run import CommandError
from .seen_path import FailedAttempts, described, path_as_json
from .standard_streams import require_standard_streams, write_line
from .trusted_receiver import TrustedReceiver

DEFAULT_TIME = 5.0  # seconds


def add_speed_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Measures how fast a stream to a peer that runs `trio-p2p answer` is, in each direction, "
        "and says by which path it went."
    )
    parser.add_argument(
        "uid", metavar="UID", type=checked_by(parse_uid), help="the UID that the peer answers under"
    )
    parser.add_argument(
        "--seconds",
        metavar="SECONDS",
        type=checked_by(_parse_time),
        default=DEFAULT_TIME,
        help=f"how long to measure each direction (default: {DEFAULT_TIME:g})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, at the end, for programs")
    parser.set_defaults(raw=False)


def _parse_time(text: str) -> float:
    seconds = parse_seconds(text)
    if not 0 < seconds <= MAX_SPEED_TIME / 2:
        raise LocalProtocolError(
            f"{text} is no time to measure for: give up to {MAX_SPEED_TIME / 2:g} seconds"
        )
    return seconds


async def speed(options: argparse.Namespace) -> None:
    """Measure both directions, one after the other, and print them."""
    require_standard_streams()
    failed = FailedAttempts()
    results: dict[str, object] = {}
    async with open_peer_as_told(options, tracer=failed) as peer:
        broker = brokers_of(options)[0].address
        receiver = TrustedReceiver(peer, broker, options.uid, options.expect)
        path: StreamPath | None = None
        for name, protocol, measure in (
            ("download", SOURCE, _measure_download),
            ("upload", SINK, _measure_upload),
        ):
            stream = await receiver.open_stream(protocol=protocol, wait=options.wait)
            async with stream:
                began_on = stream.path
                with unanswered_explained():
                    rate = await measure(stream, options.seconds)
                path = stream.connection.path
                results["peer_id"] = str(stream.peer_id)
                results[name] = {"bytes_per_second": rate, **path_as_json(path)}
            if not options.json:
                await write_line(f"{name:8}  {_shown(rate)}  {described(path)}")
                if path != began_on:
                    await write_line(f"{'':8}  begun on another path: {described(began_on)}")
        if options.json:
            report = {"uid": options.uid, **results, "failed_attempts": failed.as_json()}
            await write_line(json.dumps(report, indent=2))
        else:
            for line in failed.explain(path):
                await write_line(line)


async def _measure_download(stream: P2PStream, seconds: float) -> float:
    """Bytes per second from the peer, from the first one on."""
    if not await stream.receive_some():
        raise CommandError("the peer has sent nothing: it has another version")
    began_at = trio.current_time()
    count = 0
    with trio.move_on_after(seconds):
        while data := await stream.receive_some():
            count += len(data)
    return count / (trio.current_time() - began_at)


async def _measure_upload(stream: P2PStream, seconds: float) -> float:
    """Bytes per second to the peer, until it has said how many it has got."""
    began_at = trio.current_time()
    piece = bytes(PIECE_BYTES)
    while trio.current_time() < began_at + seconds:
        await stream.send_all(piece)
    await stream.send_eof()
    answer = b""
    while len(answer) < COUNT_BYTES:
        data = await stream.receive_some(COUNT_BYTES - len(answer))
        if not data:
            raise CommandError("the peer has not said how much it has got")
        answer += data
    return int.from_bytes(answer, "big") / (trio.current_time() - began_at)


def _shown(rate: float) -> str:
    return f"{rate / 1e6:.2f} MB/s"
