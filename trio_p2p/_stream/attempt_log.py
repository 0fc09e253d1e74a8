"""The attempts of one search for a path: told to a tracer, and kept for the search's error.

That a connection leads to the introduced peer shows in TLS's handshake only. Until then it is not
told that the attempt has connected, as it may prove to have reached another host.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import attrs
import trio

from .._attempt import Attempt, Outcome
from .._errors import AttemptFailedError
from .._peer_connection import OnAttempt

logger = logging.getLogger("trio_p2p.sender")


def failures_of(attempts: Iterable[Attempt]) -> ExceptionGroup[AttemptFailedError]:
    """One error for each attempt."""
    return ExceptionGroup("one error for each attempt", [*map(AttemptFailedError, attempts)])


class AttemptLog:
    """What was attempted so far.

    Args:
        on_attempt: told of each attempt when it has ended.
    """

    def __init__(self, on_attempt: OnAttempt) -> None:
        self._on_attempt = on_attempt
        self._failed: list[Attempt] = []
        self._connected: Attempt | None = None
        self._connected_at = 0.0

    def note(self, attempt: Attempt) -> None:
        """An attempt has ended, or has connected."""
        if attempt.outcome is Outcome.CONNECTED:
            self.close()
            self._connected, self._connected_at = attempt, trio.current_time()
        else:
            self._failed.append(attempt)
            self._tell(attempt)

    def note_wrong_peer(self) -> None:
        """The other end of a connection could not prove to be the peer."""
        assert self._connected is not None
        seconds = self._connected.seconds + trio.current_time() - self._connected_at
        wrong = attrs.evolve(self._connected, outcome=Outcome.WRONG_PEER, seconds=seconds)
        self._connected = None
        self.note(wrong)

    def drop(self) -> None:
        """The receiver has no room for what is connected: not an attempt that counts."""
        self._connected = None

    def close(self) -> None:
        """The other end of a connection is the peer, as far as is known."""
        if self._connected is not None:
            connected, self._connected = self._connected, None
            self._tell(connected)

    @property
    def failures(self) -> ExceptionGroup[AttemptFailedError]:
        """One error for each attempt that failed."""
        return failures_of(self._failed)

    def _tell(self, attempt: Attempt) -> None:
        self._on_attempt(attempt)


class Attempts:
    """What was attempted by one version of IP, in order.

    Args:
        on_attempt: told of each attempt, too.

    Attributes:
        ended: those that have ended.
    """

    def __init__(self, on_attempt: OnAttempt) -> None:
        self.ended: list[Attempt] = []
        self._on_attempt = on_attempt

    def note(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        logger.debug("attempt: %s", attempt)
        self.ended.append(attempt)
        self._on_attempt(attempt)
