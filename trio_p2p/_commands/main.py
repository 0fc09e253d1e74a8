"""The command ``trio-p2p``: netcat through NATs, and a demonstration."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from .answering import answer
from .chat import chat
from .completion import completion_script
from .demo import demonstrate
from .doctor import diagnose
from .expose import expose
from .forward import forward
from .identity_file import load_or_create_identity
from .parsers import make_parser
from .peer import connect, listen
from .peers import manage_peers
from .ping import ping
from .receive import receive
from .run import log_for_user, run_command, stopping_signals
from .send import send
from .show_ticket import show_ticket
from .speed import speed
from .standard_streams import require_standard_streams, write_line
from .ticket import follow_ticket


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    follow_ticket(options)
    if options.command == "demo":
        return demonstrate(with_nats=options.nat, verbose=options.verbose)
    commands: dict[str, Callable[[argparse.Namespace], Awaitable[None]]] = {
        "listen": listen,
        "connect": connect,
        "id": _print_peer_id,
        "expose": expose,
        "forward": forward,
        "send": send,
        "receive": receive,
        "ticket": show_ticket,
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


async def _print_peer_id(options: argparse.Namespace) -> None:
    require_standard_streams()
    identity = load_or_create_identity(options.identity)
    peer_id = str(identity.peer_id)
    await write_line(json.dumps({"peer_id": peer_id}) if options.json else peer_id)


async def _print_completion(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    require_standard_streams()
    await write_line(completion_script(options.shell, parser))
