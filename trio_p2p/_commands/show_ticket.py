"""``trio-p2p ticket``: the ticket by which others find this user, and a QR code of it."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from typing import Any

from .._wire.uids import parse_uid
from .arguments import checked_by
from .identity_file import load_or_create_identity
from .peer_options import brokers_of
from .run import CommandError
from .standard_streams import require_standard_streams, write_standard_output
from .terminal import shows_colours
from .ticket import Ticket

_BRIGHT_ON_DARK, _RESET = "\x1b[97;40m", "\x1b[0m"  # the picture's blocks are what is bright


def add_ticket_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Prints a ticket: one text with the brokers, your peer id, and a UID. The other side gives "
        "it wherever a UID is asked for, and needs to know nothing else."
    )
    parser.add_argument(
        "uid",
        metavar="UID",
        nargs="?",
        type=checked_by(parse_uid),
        help="the UID that you listen under (default: your peer id)",
    )
    parser.add_argument("--qr", action="store_true", help="show it as a QR code, too")
    parser.set_defaults(raw=False)


async def show_ticket(options: argparse.Namespace) -> None:
    """Print a ticket."""
    require_standard_streams()
    brokers = tuple(brokers_of(options))
    peer_id = load_or_create_identity(options.identity).peer_id
    ticket = Ticket(brokers, peer_id, options.uid or str(peer_id))
    picture = _picture(str(ticket)) if options.qr else ""
    await write_standard_output(f"{picture}{ticket}\n".encode(sys.stdout.encoding))


def _picture(text: str) -> str:
    """A QR code for standard output; dark on bright, whatever the terminal's colours are."""
    picture = _qr_code(text)
    try:
        picture.encode(sys.stdout.encoding)
    except UnicodeEncodeError as error:
        raise CommandError(
            f"standard output is in {sys.stdout.encoding}, and cannot show a QR code: set LANG to "
            "C.UTF-8, or leave --qr out"
        ) from error
    if not shows_colours(sys.stdout):
        return picture
    return "".join(f"{_BRIGHT_ON_DARK}{line}{_RESET}\n" for line in picture.splitlines())


def _qr_code(text: str) -> str:
    """A QR code as text, with its margin; the characters show what is bright."""
    try:
        segno: Any = importlib.import_module("segno")
    except ImportError as error:
        raise CommandError(
            "QR codes need the package segno: install trio-p2p[tools], or leave --qr out"
        ) from error
    picture = io.StringIO()
    # Upper case takes the QR code's denser alphabet; tickets may be in either.
    segno.make(text.upper(), micro=False, error="L", boost_error=False).terminal(
        picture, compact=True, border=2
    )
    return picture.getvalue().rstrip() + "\n"
