"""``trio-p2p doctor``: what this network does to connections between peers, and what to change."""

from __future__ import annotations

import argparse
import json

from .._broker_client.place import parse_brokers
from .._broker_client.resolve import resolve_broker
from .._doctor.page import as_json, render
from .._nat.network_survey import survey_network
from .arguments import broker_of_environment, checked_by
from .run import UsageError
from .standard_streams import require_standard_streams, write_line


def add_doctor_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Surveys the network that this host is in, from the point of view of a broker, and says "
        "towards which peers connections will be direct. Takes some seconds."
    )
    parser.add_argument(
        "broker",
        metavar="BROKER",
        nargs="?",
        type=checked_by(parse_brokers),
        default=broker_of_environment(),
        help="HOST:PORT of the broker (default: $TRIO_P2P_BROKER)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


async def diagnose(options: argparse.Namespace) -> None:
    """Survey the network, and print what was found."""
    require_standard_streams()
    if options.broker is None:
        raise UsageError("which broker? Name one as HOST:PORT, or set TRIO_P2P_BROKER to HOST:PORT")
    survey = await survey_network(await resolve_broker(options.broker[0].address))
    await write_line(json.dumps(as_json(survey), indent=2) if options.json else render(survey))
