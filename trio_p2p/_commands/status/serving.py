"""Serves the status page beside the broker, which goes on whatever becomes of the page."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import trio

from ..._broker.counts import Counts
from ..._broker.server import Broker
from ..._errors import LocalProtocolError
from ..._net.listening import open_listeners
from .access import MIN_TOKEN, Access

EXTRA = (
    "the status page takes packages that are not installed ({}): install them with "
    "`pip install trio-p2p[status]`, or leave --status out"
)
_TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

logger = logging.getLogger("trio_p2p.status")


def check_installed() -> None:
    """Check that what the status page takes is installed.

    Raises:
        LocalProtocolError: it is not.
    """
    try:
        for name in ("hypercorn.trio", "prometheus_client"):
            import_module(name)
    except ImportError as error:
        raise LocalProtocolError(EXTRA.format(error)) from error


def read_token(file: Path) -> str:
    """The token in a file.

    Raises:
        LocalProtocolError: there is none that is any good.
    """
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise LocalProtocolError(f"{file} cannot be read ({error.strerror})") from error
    except ValueError:
        token = ""
    if len(token) < MIN_TOKEN or not _TOKEN.issuperset(token):
        raise LocalProtocolError(
            f"{file} has to hold a token of at least {MIN_TOKEN} letters, digits, - and _: make "
            f"one with `openssl rand -hex 16 > {file}`"
        )
    return token


async def serve_status(
    broker: Broker,
    counts: Counts,
    bind: str,
    access: Access,
    announce: Callable[[str], object],
) -> None:
    """Serve the status page until cancelled, or until that fails.

    Args:
        broker: what is shown.
        counts: what its observer has counted.
        bind: the address and port to listen on.
        access: what requests have to bring.
        announce: told of the page's address.
    """
    from hypercorn.config import Config, Sockets  # noqa: PLC0415 - an extra

    from .app import StatusApp  # noqa: PLC0415 - it takes the extra
    from .overview import Overview  # noqa: PLC0415 - together with it

    quiet = logging.getLogger("trio_p2p.status.server")
    quiet.setLevel(logging.WARNING)
    host, _, port = bind.rpartition(":")
    try:
        listeners = await open_listeners(int(port), [host.removeprefix("[").removesuffix("]")])
    except OSError as error:
        logger.error(  # noqa: TRY400 - what the operator has to mend needs no traceback
            "there is no status page: %s cannot be listened on (%s); the broker goes on",
            bind,
            error.strerror,
        )
        return

    class Listening(Config):
        """Gives the listeners away when the server begins; until then they are closed here."""

        def create_sockets(self) -> Sockets:
            return Sockets(
                [], [socket.socket(fileno=each.socket.detach()) for each in listeners], []
            )

    config = Listening()
    config.accesslog = None
    config.errorlog = quiet
    config.include_server_header = False
    config.graceful_timeout = 0.0
    try:
        overview = Overview(broker, counts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(overview.run)
            app = StatusApp(overview, access)
            serve: Any = import_module("hypercorn.trio").serve
            [address] = await nursery.start(serve, app, config)
            announce(address)
    except Exception:
        logger.exception("there is no status page at %s any more; the broker goes on", bind)
    finally:
        for each in listeners:
            each.socket.close()
