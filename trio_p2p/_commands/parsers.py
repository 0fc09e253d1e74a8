"""What the command ``trio-p2p`` can be told."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import attrs

from .._attempt import Technique
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
from .help_pages import HelpfulParser, Overview, Topic
from .peers import add_peers_command
from .ping import add_ping_command
from .receive import add_receive_command
from .run import add_verbose_option
from .send import add_send_command
from .show_ticket import add_ticket_command
from .speed import add_speed_command
from .ticket import parse_uid_or_ticket
from .version import add_version_option


def make_parser() -> Overview:
    """What takes the arguments apart."""
    parser = Overview(
        _TOPICS,
        {name: command.purpose for name, command in _COMMANDS.items()},
        prog="trio-p2p",
        usage="%(prog)s [--version] COMMAND ...",
        description=_DESCRIPTION,
        closing=_CLOSING,
    )
    add_version_option(parser)
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
        parser_class=HelpfulParser,
        prog="trio-p2p",
    )
    for name, told in _COMMANDS.items():
        command = commands.add_parser(name, help=told.purpose)
        command.summarize_usage(told.arguments)
        told.add_own_options(command)
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
        help="stay for any number of peers; nothing is sent to them",
    )
    command.add_argument(
        "--exec",
        metavar="COMMAND",
        type=checked_by(parse_command),
        help="run this for the peer, or for each one with --keep",
    )


def _add_connect_command(command: argparse.ArgumentParser) -> None:
    _add_streams(command)
    command.add_argument(
        "uid",
        metavar="UID",
        type=checked_by(parse_uid_or_ticket),
        help="what both agreed on, or the other side's code or ticket",
    )
    command.add_argument(
        "--report",
        metavar="FILE",
        default=os.devnull,
        help="write as JSON how the connection came about, or why not",
    )


def _add_streams(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Joins standard input and output with one peer, until both ways have ended."
    )
    command.add_argument(
        "--raw",
        action="store_true",
        help="bare TCP, without encryption; the peer gives it, too",
    )


def _add_demo_command(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--nat", action="store_true", help="behind two real NATs, in namespaces made for it"
    )
    command.description = (
        "Runs a broker, a receiver and a sender on this host, and tells how the two are connected. "
        "Nothing else is needed for it."
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
        help=f"only this peer; may be repeated (default: {default})",
    )


def _add_code_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--code",
        action="store_true",
        help="make a code for the other side, instead of a UID",
    )


def _add_calling_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--expect",
        metavar="PEER_ID",
        type=checked_by(PeerId.parse),
        help="only this peer (default: the one that answered first)",
    )
    command.add_argument("--wait", action="store_true", help="wait until the peer is there")


def _add_way_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say how to come to the peer."""
    command.add_argument(
        "--broker",
        metavar="HOST:PORT",
        type=checked_by(parse_broker_list),
        default=broker_of_environment(),
        help="where both meet, or tls://HOST:PORT; several with commas (default: $TRIO_P2P_BROKER)",
    )
    command.add_argument(
        "--token",
        metavar="TOKEN",
        type=checked_by(parse_token_text),
        help="token for a closed broker (default: $TRIO_P2P_TOKEN)",
    )
    command.add_argument(
        "--only",
        metavar="TECHNIQUE",
        action="append",
        type=checked_by(parse_technique),
        help=f"only {', '.join(list(Technique)[:-1])} or {list(Technique)[-1]}; may be repeated",
    )
    command.add_argument("--no-relay", action="store_true", help="never let the broker relay")
    command.add_argument(
        "--grace",
        metavar="SECONDS",
        type=checked_by(parse_seconds),
        help=f"how long to look for a lost path (default: {DEFAULT_GRACE:g})",
    )


def _add_identity_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--identity",
        metavar="FILE",
        help="your private key, made if need be (default: your own)",
    )


@attrs.frozen
class _Command:
    """What is told of a command, and what adds its own options to its parser."""

    purpose: str
    arguments: str
    add_own_options: Callable[[argparse.ArgumentParser], None]


_COMMANDS = {
    "send": _Command("give files to a peer", "FILE...", add_send_command),
    "receive": _Command("take the files that a peer gives", "CODE", add_receive_command),
    "chat": _Command("write to a peer, line by line", "UID", add_chat_command),
    "listen": _Command("wait for one peer and talk to it", "[UID]", _add_listen_command),
    "connect": _Command("connect to a peer that listens", "UID", _add_connect_command),
    "expose": _Command(
        "let peers reach TCP services from here",
        "UID [NAME=][HOST:]PORT...",
        add_expose_command,
    ),
    "forward": _Command(
        "have local ports lead to a peer's services",
        "[NAME=]PORT UID [[NAME=]PORT UID]...",
        add_forward_command,
    ),
    "ping": _Command("measure round trips to a peer", "UID", add_ping_command),
    "speed": _Command("measure how fast a stream to a peer is", "UID", add_speed_command),
    "answer": _Command("answer the ping and speed of peers", "UID", add_answer_command),
    "doctor": _Command("say what this network does to connections", "[UID]", add_doctor_command),
    "demo": _Command("watch two peers being connected", "", _add_demo_command),
    "peers": _Command(
        "show, forget and name the peers that you know", "[ACTION ...]", add_peers_command
    ),
    "ticket": _Command("print where you are to be met, as one text", "[UID]", add_ticket_command),
    "id": _Command("print your peer id", "", _add_id_command),
    "completion": _Command("have your shell complete all this", "SHELL", add_completion_command),
}
_DESCRIPTION = """\
Encrypted streams between two programs behind NATs. Both sides name the same
broker, by --broker HOST:PORT or in TRIO_P2P_BROKER, and the same UID or code."""
_TOPICS = (
    Topic("files", ("send", "receive")),
    Topic("people", ("chat",)),
    Topic("pipes", ("listen", "connect")),
    Topic("TCP ports", ("expose", "forward")),
    Topic("measures", ("ping", "speed", "answer")),
    Topic("network", ("doctor", "demo")),
    Topic("names", ("peers", "ticket", "id")),
    Topic("shell", ("completion",)),
)
_CLOSING = "New here? Run trio-p2p demo. trio-p2p COMMAND --help shows how to use COMMAND."
_CALLING = {"connect", "forward", "receive", "ping", "speed", "chat", "doctor"}
_ADMITTING = {
    "listen": "first to come",
    "expose": "all",
    "send": "first to come",
    "answer": "all",
    "chat": "first to come",
}
_AT_BROKER = _CALLING | set(_ADMITTING) | {"ticket"}
_TALKATIVE = _CALLING | set(_ADMITTING) | {"demo"}
