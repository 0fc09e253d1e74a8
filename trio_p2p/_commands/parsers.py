"""What the command ``trio-p2p`` can be told."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from .._attempt import Technique
from .._broker_client.place import DEFAULT_PORT
from .._identity.peer_id import PeerId
from .._stream.limits import DEFAULT_GRACE
from .._wire.uids import parse_uid
from .answering import add_answer_command
from .arguments import (
    broker_of_environment,
    checked_by,
    parse_broker_list,
    parse_seconds,
    parse_technique,
    parse_token_text,
)
from .chat import add_chat_command
from .command_stream import parse_command
from .completion import add_completion_command
from .doctor import add_doctor_command
from .expose import add_expose_command
from .forward import add_forward_command
from .peers import add_peers_command
from .ping import add_ping_command
from .receive import add_receive_command
from .run import add_verbose_option
from .send import add_send_command
from .show_ticket import add_ticket_command
from .speed import add_speed_command
from .ticket import parse_uid_or_ticket
from .version import add_version_option


def make_parser() -> argparse.ArgumentParser:
    """What takes the arguments apart."""
    parser = argparse.ArgumentParser(
        prog="trio-p2p",
        description="Encrypted streams between two programs behind NATs.",
        epilog="Exit status: 0 if all went well, 1 if something failed, 2 if the arguments are "
        "wrong, and 128 and the number of the signal if one has ended the command.",
    )
    add_version_option(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (purpose, add_own_options) in _COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        add_own_options(command)
        if name in _AT_BROKER:
            _add_way_options(command)
        if name in _AT_BROKER or name == "id":
            _add_identity_option(command)
        if name in _TALKATIVE:
            add_verbose_option(command)
        else:
            command.set_defaults(verbose=False, quiet=False)
        if name in _ADMITTING:
            _add_admit_option(command, _ADMITTING[name])
        if name in _CALLING:
            _add_calling_options(command)
        if name in {"listen", "expose"}:
            _add_code_option(command)
    return parser


# What single commands take.


def _add_listen_command(command: argparse.ArgumentParser) -> None:
    _add_streams(command)
    command.add_argument(
        "uid",
        metavar="UID",
        nargs="?",
        type=checked_by(parse_uid),
        help="what the two peers agreed on",
    )
    command.add_argument(
        "--keep",
        action="store_true",
        help="stay, and write what any number of peers send to standard output; standard input is "
        "not read",
    )
    command.add_argument(
        "--exec",
        metavar="COMMAND",
        type=checked_by(parse_command),
        help="run this command, whose standard input and output are the peer's; with --keep one "
        "for each peer",
    )


def _add_connect_command(command: argparse.ArgumentParser) -> None:
    _add_streams(command)
    command.add_argument(
        "uid",
        metavar="UID",
        type=checked_by(parse_uid_or_ticket),
        help="what the two peers agreed on, or the code or ticket that the other side shows",
    )
    command.add_argument(
        "--report",
        metavar="FILE",
        default=os.devnull,
        help="write as JSON, at the end, how the connection came about, or why not; - is standard "
        "error",
    )


def _add_streams(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Joins standard input and output with one peer. Exits with 0 when both ways have ended."
    )
    command.add_argument(
        "--raw",
        action="store_true",
        help="a bare TCP connection, without encryption; the peer has to say so, too",
    )


def _add_demo_command(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--nat", action="store_true", help="behind two real NATs, in namespaces made for it"
    )


def _add_id_command(command: argparse.ArgumentParser) -> None:
    command.description = "Prints the peer id that others know you by, and can expect."
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


# What several of them take.


def _add_admit_option(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument(
        "--admit",
        metavar="PEER",
        action="append",
        help="admit this peer only: its peer id, or a UID that it answered to when you "
        f"connected; may be repeated (default: {default})",
    )


def _add_code_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--code",
        action="store_true",
        help="make a code that the other side types, instead of a UID, and admit only the peer "
        "that knows it",
    )


def _add_calling_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--expect",
        metavar="PEER_ID",
        type=checked_by(PeerId.parse),
        help="connect to this peer only (default: the one that answered to the UID the first time)",
    )
    command.add_argument(
        "--wait", action="store_true", help="wait, if need be, until the peer is there"
    )


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


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "listen": ("wait for one peer and talk to it", _add_listen_command),
    "connect": ("connect to a peer that listens", _add_connect_command),
    "expose": ("let peers reach TCP services from here", add_expose_command),
    "forward": ("have local ports lead to a peer's services", add_forward_command),
    "send": ("give files to a peer", add_send_command),
    "receive": ("take the files that a peer gives", add_receive_command),
    "ping": ("measure round trips to a peer", add_ping_command),
    "speed": ("measure how fast a stream to a peer is", add_speed_command),
    "answer": ("answer the ping and speed of peers", add_answer_command),
    "chat": ("write to a peer, line by line", add_chat_command),
    "doctor": ("say what this network does to connections", add_doctor_command),
    "demo": ("watch two peers being connected", _add_demo_command),
    "peers": ("show, forget and name the peers that you know", add_peers_command),
    "ticket": ("print where you are to be met, as one text", add_ticket_command),
    "id": ("print your peer id", _add_id_command),
    "completion": ("have your shell complete all this", add_completion_command),
}
_CALLING = {"connect", "forward", "receive", "ping", "speed", "chat", "doctor"}
_ADMITTING = {
    "listen": "the first peer that comes",
    "expose": "all",
    "send": "the first peer that comes",
    "answer": "all",
    "chat": "the first peer that comes",
}
_AT_BROKER = _CALLING | set(_ADMITTING) | {"ticket"}
_TALKATIVE = _CALLING | set(_ADMITTING) | {"demo"}
