"""The command ``trio-p2p-broker``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import trio

from .._broker.server import serve_broker
from .._endpoint import endpoint_of
from .run import EXIT_SIGNALLED, CommandError, add_verbose_option, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(
        prog="trio-p2p-broker",
        description="Introduces trio_p2p peers to each other. Run it where the internet reaches "
        "it without a NAT in between.",
    )
    parser.add_argument("--host", help="the interface to listen on (default: all)")
    parser.add_argument(
        "--port",
        type=_port,
        default=4433,
        help="the TCP port to listen on, 0 for any free one (default: %(default)s)",
    )
    add_verbose_option(parser)
    options = parser.parse_args(arguments)
    code = run_command(partial(_serve, options.host, options.port), verbose=options.verbose)
    return 0 if code > EXIT_SIGNALLED else code  # to be told to stop is how a broker ends


async def _serve(host: str | None, port: int) -> None:
    async with trio.open_nursery() as nursery:
        try:
            listeners = await nursery.start(partial(serve_broker, port, host=host))
        except OSError as error:
            raise CommandError(
                f"cannot listen on port {port} of {host or 'this host'} ({error.strerror}): "
                "choose others with --port and --host"
            ) from error
        for listener in listeners:
            endpoint = endpoint_of(listener.socket.getsockname())
            print(f"trio-p2p-broker: listening on {endpoint}", file=sys.stderr, flush=True)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)
