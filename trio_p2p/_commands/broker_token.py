"""``trio-p2p-broker token``: makes access tokens for a closed broker, and shows what they say."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .._errors import IdentityError, LocalProtocolError
from .._identity.access_token import (
    MAX_EXPIRY,
    TOKEN_ID_BYTES,
    AccessToken,
    Use,
    parse_token,
    read_token_untrusted,
    token_text,
)
from .._identity.identity import Identity
from .._identity.peer_id import PeerId
from .._net.calendar import unix_time
from .arguments import checked_by, parse_path, parse_token_text
from .help_pages import HelpfulParser
from .printing import print_result
from .run import EXIT_FAILED

DEFAULT_DAYS = 30.0
_SECONDS_OF_DAY = 86_400


def make_token(arguments: Sequence[str]) -> int:
    """Print one token, or what one says; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.show is not None:
        token = read_token_untrusted(parse_token(options.show))
        return print_result(parser.prog, _described(token))
    if options.key is None:
        parser.error("which key signs the token? Say --key FILE")
    try:
        token = AccessToken(
            identifier=secrets.token_bytes(TOKEN_ID_BYTES),
            uses=options.may or frozenset(Use),
            expires_at=math.ceil(unix_time() + options.days * _SECONDS_OF_DAY),
            peer_id=options.peer,
            pattern=options.uid,
        )
        key = _load_or_create(options.key)
    except LocalProtocolError as error:
        parser.error(str(error))
    except IdentityError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_FAILED
    code = print_result(parser.prog, token_text(token.sign(key.private_key)))
    if not code:
        print(f"{parser.prog}: made a token: {_described(token)}", file=sys.stderr)
    return code


def parse_days(text: str) -> float:
    """For how many days a token is valid.

    Raises:
        LocalProtocolError: it is no such number.
    """
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days < MAX_EXPIRY / _SECONDS_OF_DAY / 2:
        raise LocalProtocolError(f"{text!r} is not a number of days: give one, like 30 or 0.5")
    return days


def parse_uses(text: str) -> frozenset[Use]:
    """What a token is for, with commas in between.

    Raises:
        LocalProtocolError: one of them is not known.
    """
    names = text.split(",")
    if not all(name in list(Use) for name in names):
        raise LocalProtocolError(f"{text!r} is not for anything: give some of {','.join(Use)}")
    return frozenset(map(Use, names))


def _parser() -> argparse.ArgumentParser:
    parser = HelpfulParser(
        prog="trio-p2p-broker token",
        description="Makes an access token for a broker that was started with --closed and "
        "--token-key, and prints it on one line. Its holder gives it with --token, token= or "
        "TRIO_P2P_TOKEN.",
    )
    parser.summarize_usage()
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=checked_by(parse_path),
        help="the private key that signs it, made if it does not exist",
    )
    parser.add_argument(
        "--may",
        metavar="USES",
        type=checked_by(parse_uses),
        help=f"what its holder may do, with commas in between: {','.join(Use)} (default: all)",
    )
    parser.add_argument(
        "--days",
        metavar="N",
        type=checked_by(parse_days),
        default=DEFAULT_DAYS,
        help=f"for how many days it is valid (default: {DEFAULT_DAYS:g})",
    )
    parser.add_argument(
        "--peer",
        metavar="PEER_ID",
        type=checked_by(PeerId.parse),
        help="the peer that it is for; to others it is of no use (default: any holder)",
    )
    parser.add_argument(
        "--uid",
        metavar="PATTERN",
        help="the UIDs that it is for, with * and ? for any characters (default: all)",
    )
    parser.add_argument(
        "--show",
        metavar="TOKEN",
        type=checked_by(parse_token_text),
        help="say what a token says, its id first, and make none",
    )
    return parser


def _load_or_create(path: Path) -> Identity:
    if os.path.lexists(path):
        return Identity.load(path)
    key = Identity.generate()
    key.save(path)
    print(f"trio-p2p-broker token: made a new key in {path}", file=sys.stderr)
    return key


def _described(token: AccessToken) -> str:
    day = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(token.expires_at))
    uses = ", ".join(use for use in Use if use in token.uses)
    peer = "any holder" if token.peer_id is None else str(token.peer_id)
    uids = "all UIDs" if token.pattern is None else f"UIDs like {token.pattern}"
    return f"{token.identifier.hex()}, until {day}, to {uses}, for {peer} and {uids}"
