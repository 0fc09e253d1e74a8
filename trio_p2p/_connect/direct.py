"""Tries IPv6 and IPv4 at once: an introduction of its own by each, and one connection.

A peer is introduced by the version of IP that its connection to the broker uses. So the broker has
seen every endpoint that it names, and no peer can name somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from .._attempt import Attempt, Technique
from .._broker_client.resolve import IP_VERSIONS, ip_versions_of
from .._errors import (
    AttemptFailedError,
    BrokerUnreachableError,
    IntroductionError,
    P2PError,
    UnknownUIDError,
)
from .._peer_connection import PeerConnection
from .rounds import Search, NoWayError, OpenInRound, open_in_rounds


async def open_by_any_ip(
    host: str,
    uid: str,
    techniques: Sequence[Technique],
    search: Search,
    open_in_round: OpenInRound,
) -> PeerConnection:
    """The first connection by any version of IP.

    Args:
        host: the broker's name or address.
        uid: the receiver's UID.
        techniques: what to try, in this order.
        search: what for.
        open_in_round: gives a round's connection, or None if none came of it.

    Raises:
        IntroductionError: no connection came of any round.
        UnknownUIDError: nobody is registered under the UID.
        P2PError: the broker is not reached, or refuses everything.
        OSError: this host has no descriptors left.
    """
    connection: PeerConnection | None = None
    attempts: list[Attempt] = []
    errors: dict[int, P2PError | OSError] = {}

    async def open_by(ip_version: int) -> None:
        nonlocal connection
        try:
            connection = await open_in_rounds(uid, techniques, ip_version, search, open_in_round)
        except NoWayError as error:
            attempts.extend(error.attempts)
            return
        except (P2PError, OSError) as error:
            errors[ip_version] = error
            if not isinstance(error, UnknownUIDError):  # which the other one would be told, too
                return
        nursery.cancel_scope.cancel(reason="the other version of IP does not matter any more")

    try:
        async with trio.open_nursery() as nursery:
            for ip_version in ip_versions_of(host):
                nursery.start_soon(open_by, ip_version)
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    if connection is None:
        raise _failure(uid, attempts, [errors[each] for each in IP_VERSIONS if each in errors])
    return connection


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
        failure.__cause__ = ExceptionGroup(
            "one error for each attempt", [AttemptFailedError(attempt) for attempt in attempts]
        )
        return failure
    for error in errors:
        if not isinstance(error, BrokerUnreachableError):
            return error
    # One of no address at all tells least.
    tried = [error for error in errors if isinstance(error.__cause__, ExceptionGroup)]
    return (tried or errors)[-1]
