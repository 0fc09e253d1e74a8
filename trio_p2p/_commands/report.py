"""The report of ``trio-p2p connect``: how a stream came about, or why not."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .._errors import Attempt
from .run import CommandError


class Report:
    """A file that the report goes to, opened before there is anything to tell, as that may fail.

    Attributes:
        attempts: the attempts to connect, in the order in which they ended.

    Raises:
        CommandError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.attempts: list[Attempt] = []
        self._path = path
        with self._explained():
            self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - until write()

    def write(self, *, seconds: float | None) -> None:
        """Write how a stream was opened; ``seconds`` is None if it was not.

        Raises:
            CommandError: the file cannot be written.
        """
        report = {
            "path": None if seconds is None else "direct",
            "technique": None if seconds is None else self.attempts[-1].technique,
            "seconds": seconds,
            "attempts": [
                {
                    "technique": attempt.technique,
                    "local": attempt.local and str(attempt.local),
                    "remote": attempt.remote and str(attempt.remote),
                    "outcome": attempt.outcome,
                    "seconds": attempt.seconds,
                }
                for attempt in self.attempts
            ],
        }
        with self._explained(), self._file:
            self._file.write(json.dumps(report, indent=2) + "\n")

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise CommandError(
                f"the report {self._path} cannot be written: {error.strerror}"
            ) from error
