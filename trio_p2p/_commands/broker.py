"""The command ``trio-p2p-broker``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import trio

from .._addresses import endpoint_of
from .._broker.access import Access
from .._broker.counts import Counts
from .._broker.log_observer import LogObserver
from .._broker.observer import Observers
from .._broker.serve import open_broker
from .._broker.tls import BrokerTLS, TLSFiles
from .._errors import LocalProtocolError
from .._net.system import current_system
from .arguments import checked_by, parse_path
from .broker_end import end_on_signals
from .broker_reloading import Reloading, load, log_as, resolve_probes, status_token
from .broker_settings import GROUPS, BrokerSettings
from .broker_token import make_token
from .help_pages import HelpfulParser
from .printing import print_result
from .run import EXIT_SIGNALLED, CommandError, run_command
from .settings import Sources, add_options, as_toml
from .status.access import Access as StatusAccess
from .status.serving import serve_status
from .systemd import Notifier, inherited_listeners, watchdog_interval
from .version import add_version_option

PREFIX = "TRIO_P2P_BROKER_"

logger = logging.getLogger("trio_p2p.broker")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker until it is told to stop; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["token"]:
        return make_token(given[1:])
    parser = _parser()
    options = parser.parse_args(given)
    sources = Sources(options, os.environ, PREFIX, options.config)
    try:
        settings = load(sources)
    except LocalProtocolError as error:
        parser.error(str(error))
    if options.check_config:
        return print_result(parser.prog, as_toml(settings).removesuffix("\n"))
    stopping = signal.SIGINT, signal.SIGTERM
    code = run_command(partial(_serve, settings, sources), partial(log_as, settings), stopping)
    return 0 if code > EXIT_SIGNALLED else code  # to be told to stop is how a broker ends


def _parser() -> argparse.ArgumentParser:
    parser = HelpfulParser(
        prog="trio-p2p-broker",
        description="Introduces trio_p2p peers to each other, and relays what they say where "
        "there is no direct way. Run it where the internet reaches it without a NAT in between.",
        epilog="`trio-p2p-broker token --help` says how to make access tokens. "
        f"Each option is also a key of the file, without the dashes, and the variable "
        f"{PREFIX}… of the environment, in capitals and with underscores. SIGHUP has the file read "
        "again.",
    )
    parser.summarize_usage()
    add_version_option(parser)
    parser.add_argument(
        "--config", type=checked_by(parse_path), metavar="FILE", help="a TOML file with settings"
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check the settings, show them, and exit"
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_const",
        dest="log_level",
        const="debug",
        help="the same as --log-level debug",
    )
    add_options(parser, BrokerSettings, GROUPS)
    return parser


async def _serve(settings: BrokerSettings, sources: Sources) -> None:
    with suppress(OSError, ValueError):  # then it has to do with those it may open
        current_system().raise_descriptor_limit()
    probe_at = await resolve_probes(settings)
    access, tls = Access(settings.access), BrokerTLS(settings.tls)
    status_access = StatusAccess(status_token(settings))
    counts = Counts()
    notifier = Notifier.of(os.environ)
    try:
        broker, listeners = await open_broker(
            settings.port,
            host=settings.host or None,
            relay=settings.relay,
            probe_port=settings.second_port,
            probe_at=probe_at,
            external=settings.externals,
            limits=settings.limits,
            observer=Observers(LogObserver(), counts),
            access=access,
            tls=tls,
            proxies=settings.proxies,
            listening=inherited_listeners(os.environ),
        )
    except OSError as error:
        raise CommandError(_cannot_listen(settings, error)) from error
    with (
        trio.open_signal_receiver(signal.SIGHUP) as hangups,
        trio.open_signal_receiver(signal.SIGTERM) as ends,
    ):
        reloading = Reloading(settings, sources, broker, access, tls, status_access=status_access)
        async with trio.open_nursery() as nursery:

            async def reload_on_hangups() -> None:
                async for _ in hangups:
                    notifier.reloading()
                    await reloading.reload()
                    notifier.ready()

            nursery.start_soon(reload_on_hangups)
            nursery.start_soon(end_on_signals, ends, broker, lambda: reloading.settings, notifier)
            if settings.status is not None:
                show = partial(_say, settings, "status page on")
                nursery.start_soon(
                    serve_status, broker, counts, settings.status, status_access, show
                )
            _announce(settings, listeners)
            _announce_pin(settings.tls)
            nursery.start_soon(access.watch)
            nursery.start_soon(notifier.watch, watchdog_interval(os.environ))
            notifier.ready()
            await broker.serve_listeners(listeners)
            nursery.cancel_scope.cancel(reason="the broker has ended")


def _announce(settings: BrokerSettings, listeners: Sequence[trio.SocketListener]) -> None:
    """Say where the broker is, on standard error: in logs for programs, as a line of the log."""
    first_for_probes = len(listeners) // (1 if settings.second_port is None else 2)
    for index, listener in enumerate(listeners):
        what = "answering probes" if index >= first_for_probes else "listening"
        _say(settings, f"{what} on", str(endpoint_of(listener.socket.getsockname())))


def _say(settings: BrokerSettings, what: str, where: str) -> None:
    if settings.log_format == "json":
        logger.info("%s %s", what, where)
    else:
        with suppress(OSError):  # of a full disk, say: it serves nevertheless
            print(f"trio-p2p-broker: {what} {where}", file=sys.stderr, flush=True)


def _announce_pin(tls: TLSFiles | None) -> None:
    pin = None if tls is None else tls.pin()
    if pin is not None:
        logger.info("TLS: clients can pin the key by tls://HOST:PORT#sha256=%s", pin.hex())


def _cannot_listen(settings: BrokerSettings, error: OSError) -> str:
    second = settings.second_port
    ports = f"port {settings.port}" + (f" or {second}" if second else "")
    return (
        f"cannot listen on {ports} of {' or '.join(settings.host) or 'this host'} "
        f"({error.strerror}): choose others with --port, --probe-port and --host"
    )
