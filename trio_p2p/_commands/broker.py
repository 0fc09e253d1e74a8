"""The command ``trio-p2p-broker``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial

import trio

from .._addresses import endpoint_of
from .._broker.quota import DEFAULT_LIMITS, RelayLimits
from .._broker.server import serve_broker
from .._broker_client.resolve import resolve_broker
from .._options import parse_broker
from .._wire.messages import MAX_COUNT
from .arguments import checked_by
from .run import EXIT_SIGNALLED, CommandError, add_verbose_option, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(
        prog="trio-p2p-broker",
        description="Introduces trio_p2p peers to each other, and relays what they say where "
        "there is no direct way. Run it where the internet reaches it without a NAT in between.",
    )
    parser.add_argument("--host", help="the interface to listen on (default: all)")
    parser.add_argument(
        "--port",
        type=_port,
        default=4433,
        help="the TCP port to listen on, 0 for any free one (default: %(default)s)",
    )
    _add_probe_options(parser)
    _add_relay_options(parser)
    add_verbose_option(parser)
    options = parser.parse_args(arguments)
    relay = _relay_limits(options)
    code = run_command(partial(_serve, options, relay), verbose=options.verbose)
    return 0 if code > EXIT_SIGNALLED else code  # to be told to stop is how a broker ends


def _add_probe_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "probes",
        "Peers find out what their NATs do by connecting to several endpoints of the broker, and "
        "by letting it call back. Two IP addresses tell the most.",
    )
    group.add_argument(
        "--probe-port",
        type=_port,
        metavar="PORT",
        help="the second TCP port to listen on, 0 for any free one (default: the one after --port)",
    )
    group.add_argument(
        "--probe-at",
        action="append",
        type=checked_by(parse_broker),
        default=[],
        metavar="HOST:PORT",
        help="where peers can probe as well: another address of this broker, or another broker; "
        "may be repeated",
    )
    group.add_argument("--no-probes", action="store_true", help="no second port, and no calls back")


def _add_relay_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "relay",
        "Peers that find no direct way to each other are relayed, within limits. What is relayed "
        "is encrypted between the peers.",
    )
    group.add_argument("--no-relay", action="store_true", help="relay nothing")
    group.add_argument(
        "--relay-rate",
        type=_count,
        metavar="BYTES",
        help="bytes per second for each circuit, both directions together (default: no limit)",
    )
    group.add_argument(
        "--relay-bytes",
        type=_count,
        metavar="BYTES",
        help="cut a circuit that has carried so many bytes (default: no limit)",
    )
    group.add_argument(
        "--relay-circuits-per-ip",
        type=_count,
        metavar="N",
        default=DEFAULT_LIMITS.circuits_per_ip,
        help="circuits at a time for one IP address (default: %(default)s)",
    )
    group.add_argument(
        "--relay-circuits-per-identity",
        type=_count,
        metavar="N",
        default=DEFAULT_LIMITS.circuits_per_identity,
        help="circuits at a time for one receiver (default: %(default)s)",
    )
    group.add_argument(
        "--relay-idle",
        type=_seconds,
        metavar="SECONDS",
        default=DEFAULT_LIMITS.idle_time,
        help="cut a circuit on which nothing was said for so long (default: %(default)g)",
    )


def _relay_limits(options: argparse.Namespace) -> RelayLimits | None:
    if options.no_relay:
        return None
    return RelayLimits(
        bytes_per_second=options.relay_rate,
        max_bytes=options.relay_bytes,
        circuits_per_ip=options.relay_circuits_per_ip,
        circuits_per_identity=options.relay_circuits_per_identity,
        idle_time=options.relay_idle,
    )


async def _serve(options: argparse.Namespace, relay: RelayLimits | None) -> None:
    probe_port = _probe_port(options)
    probe_at = [
        endpoint for broker in options.probe_at for endpoint in await resolve_broker(broker)
    ]
    serve = partial(
        serve_broker,
        options.port,
        host=options.host,
        relay=relay,
        probe_port=probe_port,
        probe_at=probe_at,
    )
    async with trio.open_nursery() as nursery:
        try:
            listeners = await nursery.start(serve)
        except OSError as error:
            ports = f"port {options.port}" + (f" or {probe_port}" if probe_port else "")
            raise CommandError(
                f"cannot listen on {ports} of {options.host or 'this host'} ({error.strerror}): "
                "choose others with --port, --probe-port and --host"
            ) from error
        first_for_probes = len(listeners) if probe_port is None else len(listeners) // 2
        for index, listener in enumerate(listeners):
            endpoint = endpoint_of(listener.socket.getsockname())
            what = "answering probes" if index >= first_for_probes else "listening"
            print(f"trio-p2p-broker: {what} on {endpoint}", file=sys.stderr, flush=True)


def _probe_port(options: argparse.Namespace) -> int | None:
    """The port for probes, 0 for any; None for none."""
    if options.no_probes:
        return None
    if options.probe_port is not None:
        port: int = options.probe_port
        return port
    return options.port + 1 if 0 < options.port < 65535 else 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
