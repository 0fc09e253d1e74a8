"""The report of ``trio-p2p connect``: how a connection came about, or why not, and its paths."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import attrs
import trio

from .._attempt import Attempt, Outcome
from .._identity.peer_id import PeerId
from .._stream.p2p_connection import P2PConnection
from .._stream.stream_path import PathKind, StreamPath
from .._stream.tracer import Tracer
from .run import CommandError


@attrs.frozen
class _PathChange:
    """A path that a stream was on, or None if it had none, and since when."""

    seconds: float
    path: StreamPath | None


class Report(Tracer):
    """A file that the report goes to, opened before there is anything to tell, as that may fail.

    Its clock starts now.

    Args:
        path: the file; ``-`` for standard error, as standard output belongs to the peer.

    Attributes:
        attempts: the attempts to connect, in the order in which they ended.

    Raises:
        CommandError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.attempts: list[Attempt] = []
        self._path = path
        self._started_at = trio.current_time()
        self._seconds: float | None = None
        self._peer_id: PeerId | None = None
        self._changes: list[_PathChange] = []
        self._file: AbstractContextManager[TextIO]
        if path == "-":
            self._file = nullcontext(sys.stderr)
        else:
            with self._explained():
                self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - until write()

    def attempt_ended(self, uid: str, attempt: Attempt) -> None:  # noqa: ARG002 - there is one
        """Note an attempt."""
        self.attempts.append(attempt)

    def connection_opened(self, connection: P2PConnection) -> None:
        """Note the connection."""
        self._seconds = self._elapsed()
        self._peer_id = connection.peer_id

    def path_changed(self, connection: P2PConnection, path: StreamPath | None) -> None:  # noqa: ARG002
        """Note a path, or that there is none for the time being."""
        self._note_path(path)

    def note_opened_raw(self) -> StreamPath:
        """Note and return the path of a raw stream: the last attempt that connected led to it."""
        self._seconds = self._elapsed()
        [*_, last] = (each for each in self.attempts if each.outcome is Outcome.CONNECTED)
        assert last.local is not None
        assert last.remote is not None
        path = StreamPath(PathKind.DIRECT, last.technique, last.local, last.remote)
        self._note_path(path)
        return path

    def write(self) -> None:
        """Write what was noted.

        Raises:
            CommandError: the file cannot be written.
        """
        began = next((change.path for change in self._changes if change.path is not None), None)
        report = {
            "path": began and began.kind,
            "technique": began and began.technique,
            "seconds": self._seconds,
            "peer_id": self._peer_id and str(self._peer_id),
            "path_changes": [
                {
                    "seconds": change.seconds,
                    "path": change.path and change.path.kind,
                    **way_as_json(change.path),
                }
                for change in self._changes
            ],
            "attempts": [
                {
                    **way_as_json(attempt),
                    "route": attempt.route,
                    "outcome": attempt.outcome,
                    "seconds": attempt.seconds,
                }
                for attempt in self.attempts
            ],
        }
        with self._explained(), self._file as file:
            file.write(json.dumps(report, indent=2) + "\n")

    def _note_path(self, path: StreamPath | None) -> None:
        self._changes.append(_PathChange(self._elapsed(), path))

    def _elapsed(self) -> float:
        return trio.current_time() - self._started_at

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise CommandError(
                f"the report {self._path} cannot be written: {error.strerror}"
            ) from error


def way_as_json(end: Attempt | StreamPath | None) -> dict[str, Any]:
    """From where to where an attempt or a path leads, and how it came about."""
    if end is None:
        return {"technique": None, "local": None, "remote": None}
    return {
        "technique": end.technique,
        "local": end.local and str(end.local),
        "remote": end.remote and str(end.remote),
    }
