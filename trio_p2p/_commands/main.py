"""The command ``trio-p2p``: netcat through NATs, and a demonstration."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

import trio

from .._errors import Technique
from .._receiver import open_p2p_listener
from .._sender import open_p2p_stream
from .bridge import bridge_standard_streams
from .demo import demonstrate
from .report import Report
from .run import EXIT_SIGNALLED, CommandError, add_verbose_option, run_command
from .standard_streams import require_standard_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "demo":
        try:
            return demonstrate(with_nats=options.nat)
        except KeyboardInterrupt:
            return EXIT_SIGNALLED + signal.SIGINT
    command = _listen if options.command == "listen" else _connect
    return run_command(partial(command, options), verbose=options.verbose)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trio-p2p", description="TCP connections between two programs behind NATs."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listen = commands.add_parser("listen", help="wait for one peer and talk to it")
    connect = commands.add_parser("connect", help="connect to a peer that listens")
    for command in (listen, connect):
        command.description = (
            "Joins standard input and output with one peer. Exits with 0 when both ways have ended."
        )
        command.add_argument("uid", metavar="UID", help="what the two peers agreed on")
        command.add_argument(
            "--broker",
            metavar="HOST:PORT",
            default=os.environ.get("TRIO_P2P_BROKER"),
            help="where both meet (default: $TRIO_P2P_BROKER)",
        )
        command.add_argument(
            "--only",
            metavar="TECHNIQUE",
            action="append",
            choices=list(Technique),
            help=f"use this technique only, one of {', '.join(Technique)}; may be repeated",
        )
        add_verbose_option(command)
    connect.add_argument(
        "--report",
        metavar="FILE",
        default=os.devnull,
        help="write as JSON how the connection came about, or why not",
    )
    demo = commands.add_parser("demo", help="watch two peers being connected")
    demo.add_argument(
        "--nat", action="store_true", help="behind two real NATs, in namespaces made for it"
    )
    return parser


async def _listen(options: argparse.Namespace) -> None:
    require_standard_streams()
    async with open_p2p_listener(
        options.uid, _broker(options), techniques=options.only or list(Technique)
    ) as listener:
        if options.verbose or sys.stderr.isatty():
            print(f"trio-p2p: waiting for a peer as {options.uid!r}", file=sys.stderr)
        stream = await listener.accept()
    async with stream:
        await bridge_standard_streams(stream)


async def _connect(options: argparse.Namespace) -> None:
    require_standard_streams()
    report = Report(options.report)
    started_at = trio.current_time()
    try:
        stream = await open_p2p_stream(
            options.uid,
            _broker(options),
            techniques=options.only or list(Technique),
            on_attempt=report.attempts.append,
        )
    except BaseException:
        report.write(seconds=None)
        raise
    seconds = trio.current_time() - started_at
    async with stream:
        report.write(seconds=seconds)
        await bridge_standard_streams(stream)


def _broker(options: argparse.Namespace) -> str:
    if options.broker is None:
        raise CommandError(
            "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER to HOST:PORT"
        )
    broker: str = options.broker
    return broker
