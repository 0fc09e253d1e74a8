"""What to tell of searches for a path that have all failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from .._attempt import Attempt, Outcome
from .._errors import AttemptFailedError, IntroductionError, P2PError, RelayError
from .._net.os_errors import is_out_of_resources

_EACH = "one error for each attempt"


def failures_of(attempts: Iterable[Attempt]) -> ExceptionGroup[AttemptFailedError]:
    """One error for each attempt that failed."""
    failed = [each for each in attempts if each.outcome is not Outcome.CONNECTED]
    return ExceptionGroup(_EACH, [*map(AttemptFailedError, failed)])


def combined(errors: Sequence[P2PError]) -> P2PError:
    """One error for all: the one that explains all, or one with the causes of each.

    Args:
        errors: why each search has failed.
    """
    for error in errors:
        if not isinstance(error, (IntroductionError, RelayError)):
            return error
    if len(errors) == 1:
        return errors[0]
    causes: list[Exception] = []
    for error in errors:
        group = cast("ExceptionGroup[P2PError] | None", error.__cause__)
        causes += [error] if group is None else list(group.exceptions)
    failure = IntroductionError(
        f"no path leads to the peer: {'; '.join(map(str, errors))}",
        attempts=tuple(each.attempt for each in causes if isinstance(each, AttemptFailedError)),
    )
    failure.__cause__ = ExceptionGroup(_EACH, causes)
    return failure


def explained(error: P2PError | OSError) -> P2PError:
    """An error of ours for whatever a search has failed with."""
    if isinstance(error, P2PError):
        return error
    advice = "close some, or raise the limit" if is_out_of_resources(error) else "see its network"
    return P2PError(f"this host cannot open a connection ({error.strerror}): {advice}")
