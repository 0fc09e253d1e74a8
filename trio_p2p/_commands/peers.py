"""``trio-p2p peers``: the peers that are known, to look at, to forget and to name."""

from __future__ import annotations

import argparse
import json
import sys

from .._errors import LocalProtocolError, shown
from .._identity.peer_id import PeerId, looks_like_peer_id
from .._wire.uids import parse_uid
from .arguments import checked_by
from .help_pages import HelpfulParser
from .known_peers import KnownPeer, KnownPeers
from .layout import Column, table
from .layouts import layout_for
from .run import CommandError, tell_user
from .standard_streams import require_standard_streams, write_line

_COLUMNS = (Column("peer id"), Column("known as"))


def add_peers_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Shows the peers that have answered when you connected to their UIDs, and those that you "
        "have named. Wherever a UID or a peer id is asked for, your name of the peer will do."
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", parser_class=HelpfulParser, prog=parser.prog
    )
    forget = actions.add_parser("forget", help="forget a peer")
    forget.summarize_usage("PEER")
    forget.description = (
        "Forgets a peer. The next one that answers to its UID is believed, and remembered."
    )
    forget.add_argument("peer", metavar="PEER", help="its UID, its name or its peer id")
    name = actions.add_parser("name", help="give a peer a name")
    name.summarize_usage("NAME PEER")
    name.description = "Gives a peer a name, which stands for its peer id."
    name.add_argument("name", metavar="NAME", type=checked_by(_parse_name), help="the name")
    name.add_argument("peer", metavar="PEER", help="its peer id, or a UID that it has answered to")


def _parse_name(text: str) -> str:
    if looks_like_peer_id(text):
        raise LocalProtocolError(f"{shown(text)} looks like a peer id: give another name")
    return parse_uid(text)


async def manage_peers(options: argparse.Namespace) -> None:
    """Do what the user has asked for."""
    known_peers = KnownPeers()
    match options.action:
        case "forget":
            forgotten = known_peers.forget(lambda peer: peer.is_called(options.peer))
            if not forgotten:
                raise _unknown(options.peer)
            for peer in forgotten:
                tell_user(f"forgot {_described(peer)}")
        case "name":
            known_peers.name(options.name, _peer_called(options.peer, known_peers))
        case _:
            await _show(known_peers, as_json=options.json)


async def _show(known_peers: KnownPeers, *, as_json: bool) -> None:
    require_standard_streams()
    peers = sorted(known_peers.all(), key=lambda peer: (str(peer.peer_id), peer.broker, peer.uid))
    if as_json:
        report = [
            {
                "peer_id": str(peer.peer_id),
                "name": None if peer.broker else peer.uid,
                "uid": peer.uid if peer.broker else None,
                "broker": peer.broker or None,
            }
            for peer in peers
        ]
        await write_line(json.dumps(report, indent=2))
        return
    if peers:
        rows = [(str(peer.peer_id), _described(peer)) for peer in peers]
        await write_line(table(layout_for(sys.stdout), _COLUMNS, rows))
    else:
        tell_user("no peer is known yet: `trio-p2p connect` remembers those that answer")


def _peer_called(text: str, known_peers: KnownPeers) -> PeerId:
    if looks_like_peer_id(text):
        return PeerId.parse(text)
    found = {peer.peer_id for peer in known_peers.all() if peer.is_called(text)}
    if len(found) > 1:
        raise CommandError(f"several peers have answered to {text!r}: give the peer id of one")
    if not found:
        raise _unknown(text)
    return found.pop()


def _unknown(text: str) -> CommandError:
    return CommandError(f"no peer is known as {text!r}: `trio-p2p peers` shows those that are")


def _described(peer: KnownPeer) -> str:
    return f"{peer.uid} at {peer.broker}" if peer.broker else f"{peer.uid}, as you have named it"
