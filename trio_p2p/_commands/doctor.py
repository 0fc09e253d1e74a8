"""``trio-p2p doctor``: what this network does to connections between peers, and what to change."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import trio

from .._broker_client.resolve import resolve_broker
from .._doctor.page import Section, as_json, sections_of
from .._doctor.prospects import Prospect
from .._errors import P2PError
from .._nat.findings import Survey
from .._nat.network_survey import survey_network
from .._stream.p2p_connection import P2PConnection
from .._stream.stream_path import PathKind
from .._wire.uids import parse_uid
from .amounts import milliseconds_text
from .arguments import checked_by
from .layout import Column, Layout, Tone, widened
from .layouts import layout_for
from .peer_options import brokers_of, open_peer_as_told
from .seen_path import FailedAttempts, described, path_as_json
from .standard_streams import require_standard_streams, write_line
from .trusted_receiver import TrustedReceiver

_COLUMNS = (Column(), Column(), Column())  # the first one indents
_TONES: dict[str, Tone] = {
    Prospect.DIRECT: Tone.GOOD,
    Prospect.PREDICTED: Tone.FAIR,
    Prospect.GUESSED: Tone.FAIR,
    Prospect.RELAYED: Tone.FAIR,
}


def add_doctor_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Surveys this host's network, and says towards which peers connections will be direct; "
        "with a UID, also which paths lead to that peer. Takes some seconds."
    )
    parser.add_argument(
        "uid",
        metavar="UID",
        nargs="?",
        type=checked_by(parse_uid),
        help="try the peer that listens under this UID, too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(raw=False)


async def diagnose(options: argparse.Namespace) -> None:
    """Survey the network, and print what was found."""
    require_standard_streams()
    places, layout = brokers_of(options), layout_for(sys.stdout)
    surveys: list[Survey] = []
    for place in places:
        try:
            survey = await survey_network(await resolve_broker(place.address))
        except P2PError as error:
            if place is places[-1] and not surveys:
                raise
            if not options.json:
                await write_line(f"The broker at {place.host}:{place.port}: {error}\n")
            continue
        surveys.append(survey)
        if not options.json:
            page = page_text(sections_of(survey), layout)
            await write_line(page + "\n" * (place is not places[-1]))
    peer = None if options.uid is None else await _try_peer(options)
    if options.json:
        await write_line(json.dumps(_as_json(surveys, peer, len(places)), indent=2))
    elif peer is not None:
        await write_line(f"\n{page_text([_section(peer)], layout)}")


def _as_json(surveys: list[Survey], peer: dict[str, Any] | None, brokers: int) -> dict[str, Any]:
    """That of the broker, if there is one, or a list of all."""
    if brokers == 1:
        return as_json(surveys[0]) | ({} if peer is None else {"peer": peer})
    return {"brokers": [as_json(survey) for survey in surveys], "peer": peer}


async def _try_peer(options: argparse.Namespace) -> dict[str, Any]:
    """Connect to a peer by each kind of path, and say what came of it."""
    failed = FailedAttempts()
    found: dict[str, Any] = {}
    peer_id: str | None = None
    async with open_peer_as_told(options, tracer=failed) as peer:
        receiver = TrustedReceiver(
            peer, brokers_of(options)[0].address, options.uid, options.expect
        )
        for kind in PathKind:
            began_at = trio.current_time()
            try:
                connection = await receiver.connect(wait=options.wait, path=kind)
            except P2PError as error:
                found[kind] = {"failure": str(error)}
                continue
            peer_id = str(connection.peer_id)
            found[kind] = _connected(connection, trio.current_time() - began_at)
            await connection.aclose()
    return {"uid": options.uid, "peer_id": peer_id, **found, "failed_attempts": failed.reasons()}


def _connected(connection: P2PConnection, seconds: float) -> dict[str, Any]:
    path = connection.path
    return {
        "seconds": seconds,
        "described": described(path),
        **path_as_json(path),
    }


def _section(peer: dict[str, Any]) -> Section:
    """What to say of a peer to people."""
    rows: list[tuple[str, str]] = []
    if peer["peer_id"] is not None:
        rows.append(("peer id", peer["peer_id"]))
    for kind in PathKind:
        found = peer[kind]
        if "failure" in found:
            rows.append((kind, f"no: {found['failure']}"))
        else:
            rows.append((kind, f"{found['described']}, in {milliseconds_text(found['seconds'])}"))
    if "failure" in peer[PathKind.DIRECT]:
        rows += [("", each) for each in peer["failed_attempts"]]
    return Section(f"The peer {peer['uid']!r}", rows=tuple(rows))


def page_text(sections: Sequence[Section], layout: Layout) -> str:
    """A page, or some sections of it, as lines."""
    parts: list[str] = []
    for section in sections:
        parts.append(layout.title(section.title))
        if section.text:
            parts.append(section.text)
        if section.rows:
            rows = [("", name, value) for name, value in section.rows]
            columns = widened(_COLUMNS, rows)
            parts.append(
                "\n".join(
                    layout.row(columns, row, _TONES.get(row[-1], Tone.NEUTRAL)) for row in rows
                )
            )
    return "\n\n".join(parts)
