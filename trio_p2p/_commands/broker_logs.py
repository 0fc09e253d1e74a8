"""What the broker writes on standard error: with date and level, and pseudonyms for its clients."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from datetime import UTC, datetime
from typing import Any

from .._addresses import Endpoint
from .._identity.peer_id import PeerId
from .._net.log_limit import Private

_SECRET = secrets.token_bytes(16)
_PSEUDONYM_BYTES = 4


def begin_logging(level: str, form: str, *, shows_peers: bool) -> None:
    """Write log lines, in the place of those that were written until now.

    Args:
        level: the least important ones.
        form: ``text`` or ``json``.
        shows_peers: whether to write UIDs, peer ids and addresses out.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONFormatter() if form == "json" else _TextFormatter())
    if not shows_peers:
        handler.addFilter(_hide_peers)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _TextFormatter(logging.Formatter):
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(  # noqa: N802 - as inherited
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 - as inherited
    ) -> str:
        return _time_of(record)


class _JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _hide_peers(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_hidden, record.args))
    return True


def _hidden(argument: Any) -> Any:
    """A pseudonym for what tells of a client."""
    if isinstance(argument, Endpoint):
        argument = argument.address  # one pseudonym for all its connections
    elif not isinstance(argument, PeerId | Private):
        return argument
    digest = hashlib.blake2b(str(argument).encode(), key=_SECRET, digest_size=_PSEUDONYM_BYTES)
    return f"~{digest.hexdigest()}"
