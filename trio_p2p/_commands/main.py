"""The command ``trio-p2p``: netcat through NATs, and a demonstration."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from functools import partial

from .._attempt import Technique
from .._stream.carrier import DEFAULT_GRACE
from .demo import demonstrate
from .doctor import add_doctor_command, diagnose
from .identity_file import load_or_create_identity
from .peer import connect, listen
from .run import EXIT_SIGNALLED, add_verbose_option, run_command
from .standard_streams import require_standard_streams, write_standard_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "demo":
        try:
            return demonstrate(with_nats=options.nat)
        except KeyboardInterrupt:
            return EXIT_SIGNALLED + signal.SIGINT
    command = {
        "listen": listen,
        "connect": connect,
        "id": _print_peer_id,
        "doctor": diagnose,
    }[options.command]
    return run_command(partial(command, options), verbose=options.verbose)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trio-p2p", description="Encrypted streams between two programs behind NATs."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listen = commands.add_parser("listen", help="wait for one peer and talk to it")
    connect = commands.add_parser("connect", help="connect to a peer that listens")
    for command in (listen, connect):
        command.description = (
            "Joins standard input and output with one peer. Exits with 0 when both ways have ended."
        )
        command.add_argument("uid", metavar="UID", help="what the two peers agreed on")
        _add_way_options(command)
        _add_identity_option(command)
        add_verbose_option(command)
    connect.add_argument(
        "--expect",
        metavar="PEER_ID",
        help="talk to nobody but this peer (default: who answered to the UID the first time)",
    )
    connect.add_argument(
        "--report",
        metavar="FILE",
        default=os.devnull,
        help="write as JSON, at the end, how the connection came about, or why not",
    )
    doctor = commands.add_parser("doctor", help="say what this network does to connections")
    add_doctor_command(doctor, os.environ.get("TRIO_P2P_BROKER"))
    add_verbose_option(doctor)
    demo = commands.add_parser("demo", help="watch two peers being connected")
    demo.add_argument(
        "--nat", action="store_true", help="behind two real NATs, in namespaces made for it"
    )
    show_id = commands.add_parser("id", help="print your peer id")
    show_id.description = "Prints the peer id that others know you by, and can expect."
    _add_identity_option(show_id)
    show_id.set_defaults(verbose=False)
    return parser


def _add_way_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say how to come to the peer."""
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
    command.add_argument(
        "--no-relay", action="store_true", help="never let the broker relay, not even encrypted"
    )
    command.add_argument(
        "--raw",
        action="store_true",
        help="a bare TCP connection, without encryption; the peer has to say so, too",
    )
    command.add_argument(
        "--grace",
        metavar="SECONDS",
        type=float,
        help="when the path to the peer is lost, look for another one so long "
        f"(default: {DEFAULT_GRACE:g})",
    )


def _add_identity_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--identity",
        metavar="FILE",
        help="the file with your private key, made if it does not exist (default: your own)",
    )


async def _print_peer_id(options: argparse.Namespace) -> None:
    require_standard_streams()
    identity = load_or_create_identity(options.identity)
    await write_standard_output(f"{identity.peer_id}\n".encode())
