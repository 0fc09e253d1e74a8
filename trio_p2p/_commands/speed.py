"""``trio-p2p speed``: how many bytes a second a stream carries, in each direction."""

from __future__ import annotations

import argparse

import trio

from .._errors import LocalProtocolError
from .._stream.p2p_stream import P2PStream
from .._stream.stream_path import StreamPath
from .answering import COUNT_BYTES, MAX_SPEED_TIME, PIECE_BYTES, SINK, SOURCE, unanswered_explained
from .arguments import checked_by, parse_seconds
from .layout import Column
from .measuring import add_measuring_options, open_measuring
from .run import CommandError
from .seen_path import path_as_json

DEFAULT_TIME = 5.0  # seconds
_COLUMNS = (Column("direction", 9), Column("speed", 12, is_number=True), Column("path"))


def add_speed_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Measures how fast a stream to a peer that runs `trio-p2p answer` is, and by which path."
    )
    parser.add_argument(
        "--seconds",
        metavar="SECONDS",
        type=checked_by(_parse_time),
        default=DEFAULT_TIME,
        help=f"how long to measure each direction (default: {DEFAULT_TIME:g})",
    )
    add_measuring_options(parser)


def _parse_time(text: str) -> float:
    seconds = parse_seconds(text)
    if not 0 < seconds <= MAX_SPEED_TIME / 2:
        raise LocalProtocolError(
            f"{text} is no time to measure for: give up to {MAX_SPEED_TIME / 2:g} seconds"
        )
    return seconds


async def speed(options: argparse.Namespace) -> None:
    """Measure both directions, one after the other, and print them."""
    results: dict[str, object] = {}
    path: StreamPath | None = None
    async with open_measuring(options, _COLUMNS) as measuring:
        for name, protocol, measure in (
            ("download", SOURCE, _measure_download),
            ("upload", SINK, _measure_upload),
        ):
            async with await measuring.open_stream(protocol) as stream:
                began_on = stream.path
                with unanswered_explained():
                    rate = await measure(stream, options.seconds)
                path = stream.connection.path
            results["peer_id"] = str(stream.peer_id)
            results[name] = {"bytes_per_second": rate, **path_as_json(path)}
            await measuring.show(name, _shown(rate), path=path)
            if path != began_on:
                await measuring.show("", "begun on", path=began_on)
        await measuring.conclude(path, results)


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
