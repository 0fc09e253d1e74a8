"""The report of ``trio-p2p connect``: how a stream came about, or why not, and what carried it."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

import attrs
import trio

from .._attempt import Attempt, Outcome
from .._identity.peer_id import PeerId
from .._stream.p2p_stream import P2PStream
from .._stream.stream_path import PathKind, StreamPath
from .run import CommandError


@attrs.frozen
class _PathChange:
    """A path that a stream was on, or None if it had none, and since when."""

    seconds: float
    path: StreamPath | None


class Report:
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

    def note_opened(self, stream: P2PStream) -> None:
        """A stream is there."""
        self._seconds = self._elapsed()
        self._peer_id = stream.peer_id
        self._note_path(stream.path)

    def note_opened_raw(self) -> None:
        """A raw stream is there, which the last attempt that connected has led to."""
        self._seconds = self._elapsed()
        [*_, last] = (each for each in self.attempts if each.outcome is Outcome.CONNECTED)
        assert last.local is not None
        assert last.remote is not None
        self._note_path(StreamPath(PathKind.DIRECT, last.technique, last.local, last.remote))

    async def watch(self, stream: P2PStream) -> None:
        """Note each path that a stream changes to, until it has ended."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            path = stream.path
            while True:
                self._note_path(path)
                path = await stream.wait_path_changed(path)

    def note_closed(self) -> None:
        """The stream is closed in order: that it has no path any more is no news."""
        if self._changes[-1].path is None:
            self._changes.pop()

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
                    **_way(change.path),
                }
                for change in self._changes
            ],
            "attempts": [
                {
                    **_way(attempt),
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
        if not self._changes or self._changes[-1].path != path:
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


def _way(end: Attempt | StreamPath | None) -> dict[str, Any]:
    if end is None:
        return {"technique": None, "local": None, "remote": None}
    return {
        "technique": end.technique,
        "local": end.local and str(end.local),
        "remote": end.remote and str(end.remote),
    }
