"""``trio-p2p doctor``: what this network does to connections between peers, and what to change."""

from __future__ import annotations

import argparse
import json
from typing import Any

import trio

from .._broker_client.resolve import resolve_broker
from .._doctor.page import as_json, render
from .._errors import P2PError
from .._nat.findings import Survey
from .._nat.network_survey import survey_network
from .._stream.p2p_connection import P2PConnection
from .._stream.stream_path import PathKind
from .._wire.uids import parse_uid
from .arguments import checked_by
from .peer_options import brokers_of, open_peer_as_told
from .seen_path import FailedAttempts, described, path_as_json
from .standard_streams import require_standard_streams, write_line
from .trusted_receiver import TrustedReceiver


def add_doctor_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Surveys the network that this host is in, from the point of view of each broker, and says "
        "towards which peers connections will be direct; with a UID, also which paths lead to that "
        "peer. Takes some seconds."
    )
    parser.add_argument(
        "uid",
        metavar="UID",
        nargs="?",
        type=checked_by(parse_uid),
        help="try to connect to the peer that listens under this UID, too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(raw=False)


async def diagnose(options: argparse.Namespace) -> None:
    """Survey the network, and print what was found."""
    require_standard_streams()
    places = brokers_of(options)
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
            await write_line(render(survey) + "\n" * (place is not places[-1]))
    peer = None if options.uid is None else await _try_peer(options)
    if options.json:
        await write_line(json.dumps(_as_json(surveys, peer, len(places)), indent=2))
    elif peer is not None:
        await write_line(f"\n{_section(peer)}")


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


def _section(peer: dict[str, Any]) -> str:
    """What to say of a peer to people."""
    lines = [f"The peer {peer['uid']!r}", ""]
    if peer["peer_id"] is not None:
        lines.append(f"  peer id  {peer['peer_id']}")
    for kind in PathKind:
        found = peer[kind]
        if "failure" in found:
            lines.append(f"  {kind:7}  no: {found['failure']}")
        else:
            lines.append(f"  {kind:7}  {found['described']}, in {1000 * found['seconds']:.1f} ms")
    if "failure" in peer[PathKind.DIRECT]:
        lines += [f"           {each}" for each in peer["failed_attempts"]]
    return "\n".join(lines)
