"""What some commands tell of the way to a peer: the path, and if it is the relay's, why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .._attempt import Attempt, Outcome, Technique
from .._stream.stream_path import PathKind, StreamPath
from .._stream.tracer import Tracer
from .narration import way_of
from .report import way_as_json

MAX_LINES = 8  # of attempts that failed


class FailedAttempts(Tracer):
    """Notes why there is no direct path, as long as there is none."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def attempt_ended(self, uid: str, attempt: Attempt) -> None:  # noqa: ARG002 - there is one
        """Note an attempt at a direct path that has failed."""
        if attempt.technique is not Technique.RELAY and attempt.outcome is not Outcome.CONNECTED:
            self.attempts.append(attempt)

    def reasons(self) -> list[str]:
        """A line for each thing that was tried, the last ones if there are many."""
        counted = Counter(_summary(attempt) for attempt in self.attempts)
        lines = [text if n == 1 else f"{text} ({n} times)" for text, n in counted.items()]
        if len(lines) > MAX_LINES:
            lines = [f"{len(lines) - MAX_LINES} others", *lines[-MAX_LINES:]]
        return lines

    def explain(self, path: StreamPath | None) -> list[str]:
        """What to say of a path at the end: lines, none if it is direct."""
        if path is None or path.kind is not PathKind.RELAY:
            return []
        reasons = self.reasons()
        if not reasons:
            return ["relayed, because no direct path was tried, or none has ended yet"]
        return ["relayed, because no direct path came about:", *(f"  {each}" for each in reasons)]

    def as_json(self) -> list[dict[str, Any]]:
        """The same for programs."""
        return [
            {
                **way_as_json(attempt),
                "route": attempt.route,
                "outcome": attempt.outcome,
                "seconds": attempt.seconds,
            }
            for attempt in self.attempts
        ]


def described(path: StreamPath | None) -> str:
    """A path in a few words."""
    if path is None:
        return "no path"
    return f"{way_of(path)}, {'by' if path.kind is PathKind.RELAY else 'to'} {path.remote}"


def path_as_json(path: StreamPath | None) -> dict[str, Any]:
    """A path, as a report has it."""
    return {"path": path and path.kind, **way_as_json(path)}


def _summary(attempt: Attempt) -> str:
    where = "" if attempt.remote is None else f" to {attempt.remote} ({attempt.route})"
    return f"{attempt.technique}{where}: {attempt.outcome}"
