"""The command ``trio-p2p``: netcat through NATs, and a demonstration."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from .._attempt import Technique
from .._broker_client.place import DEFAULT_PORT
from .._identity.peer_id import PeerId
from .._stream.limits import DEFAULT_GRACE
from .._wire.uids import parse_uid
from .answering import add_answer_command, answer
from .arguments import (
    broker_of_environment,
    checked_by,
    parse_broker_list,
    parse_seconds,
    parse_technique,
    parse_token_text,
)
from .chat import add_chat_command, chat
from .command_stream import parse_command
from .completion import add_completion_command, completion_script
from .demo import demonstrate
from .doctor import add_doctor_command, diagnose
from .expose import add_expose_command, expose
from .forward import add_forward_command, forward
from .identity_file import load_or_create_identity
from .peer import connect, listen
from .peers import add_peers_command, manage_peers
from .ping import add_ping_command, ping
from .run import (
    EXIT_SIGNALLED,
    add_verbose_option,
    log_for_user,
    run_command,
    stopping_signals,
)
from .speed import add_speed_command, speed
from .standard_streams import require_standard_streams, write_line
from .version import add_version_option


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "demo":
        try:
            return demonstrate(with_nats=options.nat, verbose=options.verbose)
        except KeyboardInterrupt:
            return EXIT_SIGNALLED + signal.SIGINT
    commands: dict[str, Callable[[argparse.Namespace], Awaitable[None]]] = {
        "listen": listen,
        "connect": connect,
        "id": _print_peer_id,
        "expose": expose,
        "forward": forward,
        "completion": partial(_print_completion, parser),
        "doctor": diagnose,
        "peers": manage_peers,
        "chat": chat,
        "ping": ping,
        "speed": speed,
        "answer": answer,
    }
    command = commands[options.command]
    log = partial(log_for_user, verbose=options.verbose, quiet=options.quiet)
    return run_command(partial(command, options), log, stopping_signals())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trio-p2p",
        description="Encrypted streams between two programs behind NATs.",
        epilog="Exit status: 0 if all went well, 1 if something failed, 2 if the arguments are "
        "wrong, and 128 and the number of the signal if one has ended the command.",
    )
    add_version_option(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listen = commands.add_parser("listen", help="wait for one peer and talk to it")
    connect = commands.add_parser("connect", help="connect to a peer that listens")
    for command in (listen, connect):
        command.description = (
            "Joins standard input and output with one peer. Exits with 0 when both ways have ended."
        )
        command.add_argument(
            "uid", metavar="UID", type=checked_by(parse_uid), help="what the two peers agreed on"
        )
        command.add_argument(
            "--raw",
            action="store_true",
            help="a bare TCP connection, without encryption; the peer has to say so, too",
        )
    expose = commands.add_parser("expose", help="let peers reach TCP services from here")
    add_expose_command(expose)
    forward = commands.add_parser("forward", help="have local ports lead to a peer's services")
    add_forward_command(forward)
    ping = commands.add_parser("ping", help="measure round trips to a peer")
    add_ping_command(ping)
    speed = commands.add_parser("speed", help="measure how fast a stream to a peer is")
    add_speed_command(speed)
    answer = commands.add_parser("answer", help="answer the ping and speed of peers")
    add_answer_command(answer)
    chat = commands.add_parser("chat", help="write to a peer, line by line")
    add_chat_command(chat)
    doctor = commands.add_parser("doctor", help="say what this network does to connections")
    add_doctor_command(doctor)
    for command in (listen, connect, expose, forward, ping, speed, answer, chat, doctor):
        _add_way_options(command)
        _add_identity_option(command)
        add_verbose_option(command)
    for command, default in (
        (listen, "the first peer that comes"),
        (expose, "all"),
        (answer, "all"),
        (chat, "the first peer that comes"),
    ):
        command.add_argument(
            "--admit",
            metavar="PEER",
            action="append",
            help="admit this peer only: its peer id, or a UID that it answered to when you "
            f"connected; may be repeated (default: {default})",
        )
    for command in (connect, forward, ping, speed, chat, doctor):
        command.add_argument(
            "--expect",
            metavar="PEER_ID",
            type=checked_by(PeerId.parse),
            help="connect to this peer only (default: the one that answered to the UID the first "
            "time)",
        )
        command.add_argument(
            "--wait", action="store_true", help="wait, if need be, until the peer is there"
        )
    listen.add_argument(
        "--keep",
        action="store_true",
        help="stay, and write what any number of peers send to standard output; standard input is "
        "not read",
    )
    listen.add_argument(
        "--exec",
        metavar="COMMAND",
        type=checked_by(parse_command),
        help="run this command, whose standard input and output are the peer's; with --keep one "
        "for each peer",
    )
    connect.add_argument(
        "--report",
        metavar="FILE",
        default=os.devnull,
        help="write as JSON, at the end, how the connection came about, or why not; - is standard "
        "error",
    )
    demo = commands.add_parser("demo", help="watch two peers being connected")
    demo.add_argument(
        "--nat", action="store_true", help="behind two real NATs, in namespaces made for it"
    )
    add_verbose_option(demo)
    peers = commands.add_parser("peers", help="show, forget and name the peers that you know")
    add_peers_command(peers)
    show_id = commands.add_parser("id", help="print your peer id")
    show_id.description = "Prints the peer id that others know you by, and can expect."
    _add_identity_option(show_id)
    show_id.add_argument("--json", action="store_true", help="print JSON, for programs")
    completion = commands.add_parser("completion", help="have your shell complete all this")
    add_completion_command(completion)
    for command in (show_id, completion):
        command.set_defaults(verbose=False, quiet=False)
    return parser


def _add_way_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say how to come to the peer."""
    command.add_argument(
        "--broker",
        metavar="HOST:PORT",
        type=checked_by(parse_broker_list),
        default=broker_of_environment(),
        help="where both meet; tls://HOST:PORT if it speaks TLS; with commas in between, spare "
        f"ones behind the first; PORT is {DEFAULT_PORT} if there is none (default: "
        "$TRIO_P2P_BROKER)",
    )
    command.add_argument(
        "--token",
        metavar="TOKEN",
        type=checked_by(parse_token_text),
        help="the access token that the operator of a closed broker has made for you; others on "
        "this host may see it here (default: $TRIO_P2P_TOKEN)",
    )
    command.add_argument(
        "--only",
        metavar="TECHNIQUE",
        action="append",
        type=checked_by(parse_technique),
        help=f"use this technique only, one of {', '.join(Technique)}; may be repeated",
    )
    command.add_argument(
        "--no-relay", action="store_true", help="never let the broker relay, not even encrypted"
    )
    command.add_argument(
        "--grace",
        metavar="SECONDS",
        type=checked_by(parse_seconds),
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
    peer_id = str(identity.peer_id)
    await write_line(json.dumps({"peer_id": peer_id}) if options.json else peer_id)


async def _print_completion(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    require_standard_streams()
    await write_line(completion_script(options.shell, parser))
