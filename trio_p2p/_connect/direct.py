"""Tries IPv6 and IPv4 at once: an introduction of its own by each, and one connection.

A peer is introduced by the version of IP that its connection to the broker uses. So the broker has
seen every endpoint that it names, and no peer can name another host's.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from .._attempt import Attempt
from .._broker_client.resolve import IP_VERSIONS
from .._control.control import Control
from .._control.controls import Controls
from .._errors import (
    BrokerUnreachableError,
    IntroductionError,
    P2PError,
    UnknownUIDError,
)
from .._net.attempt_log import AttemptLog
from .._net.winner import Winner
from .._options import direct_techniques
from .._peer_connection import PeerConnection
from .._wire.messages import StreamKind
from .failures import failures_of
from .rounds import NoWayError, Search, open_in_rounds


class DirectDialer:
    """Connects to one receiver directly.

    Args:
        controls: the connections to the broker.
        uid: the receiver's UID.
        kind: what is to be made of the connections.

    Attributes:
        uid: the same.
    """

    def __init__(self, controls: Controls, uid: str, kind: StreamKind) -> None:
        self.uid = uid
        self._controls = controls
        self._kind = kind

    async def dial(self, attempts: AttemptLog) -> PeerConnection:
        """The first connection by any version of IP.

        Args:
            attempts: where each attempt is noted; nothing was before.

        Raises:
            IntroductionError: no connection came of any round.
            UnknownUIDError: no receiver is registered under the UID.
            P2PError: the broker is not reached, or refuses everything.
            OSError: this host has no descriptors left.

        If cancelled, everything that was under way is closed.
        """
        techniques = direct_techniques(self._controls.options.techniques)
        search = Search(self.uid, self._kind, techniques, attempts)
        winner = Winner(PeerConnection.close)
        errors: dict[int, P2PError | OSError] = {}

        async def open_by(control: Control) -> None:
            try:
                winner.offer(await open_in_rounds(control, search))
            except NoWayError:
                return
            except (P2PError, OSError) as error:
                errors[control.ip_version] = error
                if not isinstance(error, UnknownUIDError):  # the other one would be told so, too
                    return
            nursery.cancel_scope.cancel(reason="the other version of IP does not matter any more")

        with winner:
            async with trio.open_nursery() as nursery:
                for control in self._controls:
                    nursery.start_soon(open_by, control)
        found = winner.found
        if found is not None or attempts.ended:
            search.reporter.end(self._controls, None if found is None else found.technique)
        if found is None:
            failures = [errors[each] for each in IP_VERSIONS if each in errors]
            raise _failure(self.uid, attempts.ended, failures)
        return found


def _failure(
    uid: str, attempts: Sequence[Attempt], errors: Sequence[P2PError | OSError]
) -> P2PError | OSError:
    """What tells most of why there is no connection."""
    for error in errors:
        if isinstance(error, UnknownUIDError):
            return error
    if attempts:
        failure = IntroductionError(
            f"no direct connection to {uid!r}, which is registered, came of {len(attempts)} "
            "attempts: allow the relay, or see with `trio-p2p doctor` which network lets no direct "
            "connection through (this error's attempts say what came of each)",
            attempts=tuple(attempts),
        )
        failure.__cause__ = failures_of(attempts)
        return failure
    for error in errors:
        if not isinstance(error, BrokerUnreachableError):
            return error
    # One of no address at all tells least.
    tried = [error for error in errors if isinstance(error.__cause__, ExceptionGroup)]
    return (tried or errors)[-1]
