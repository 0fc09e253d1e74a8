"""What a sender tries, round after round, until a direct connection comes of one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from .._attempt import Attempt, Outcome, Technique
from .._errors import IntroductionError
from .._identity.identity import Identity
from .._nat.local_network import LocalNetwork
from .._peer_connection import OnAttempt, PeerConnection
from .._traversal.nomination import Nomination
from .._traversal.punch_schedule import RETRANSMISSION_TIME
from .._traversal.race import connect_introduced
from .._traversal.strategy import reflexive_route
from .._wire.messages import StreamKind
from .._wire.offer import Opening
from .broker_link import BrokerLink, open_broker_link
from .patience import retry_while_busy

logger = logging.getLogger("trio_p2p.sender")

# How to begin, and for how many seconds to try, in rounds from fresh ports. Once the receiver's NAT
# has seen a first SYN of either side it lets none pass that has another sequence number. So if one
# of these two is lost behind it, dialling again helps only between other endpoints. The classic
# technique's steps say who holds.
ROUNDS = {
    Technique.FAST: (
        (Opening.RECEIVER_HOLDS, 0.75),
        (Opening.CROSSING, 1.25),  # some NATs close the hole when the guarded SYN dies
        (Opening.SENDER_HOLDS, 2.0),
    ),
    Technique.CLASSIC: ((Opening.RECEIVER_HOLDS, 4.0), (Opening.RECEIVER_HOLDS, 6.0)),
}
MIN_ROUND_TIME = 0.2  # with a peer whose ports move, until we know whether ours do
GUESSING_TIME = 10.0  # to guess a port; most of it waits for answers over long ways
MIN_ROUND_TRIPS = 6  # that a round lasts: for three SYNs, with growing patience


class NoWayError(Exception):
    """No connection came of any round; carries all attempts."""

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        super().__init__(attempts)
        self.attempts = attempts


@attrs.frozen
class Search:
    """What a connection is wanted for.

    Attributes:
        kind: what is to be made of it.
        identity: ours.
        on_attempt: told of each attempt when it has ended.
        local_network: what we know of our network, for each version of IP.
        port_guessing: whether to guess ports.
        nomination: of its one connection.
    """

    kind: StreamKind
    identity: Identity
    on_attempt: OnAttempt
    local_network: Mapping[int, LocalNetwork]
    port_guessing: bool
    nomination: Nomination = attrs.field(factory=Nomination)


@attrs.frozen
class Round:
    """One introduction, between endpoints that had none before.

    Attributes:
        uid: the receiver's UID.
        technique: how to be introduced.
        opening: how to begin.
        ip_version: 4 or 6, by which to meet.
        seconds: how long to try, unless the round trip is very long.
        search: what else the broker and the caller want to know.
        on_attempt: told of each attempt when it has ended.
    """

    uid: str
    technique: Technique
    opening: Opening
    ip_version: int
    seconds: float
    search: Search
    on_attempt: OnAttempt

    @property
    def local_network(self) -> LocalNetwork:
        """What we know of our network."""
        return self.search.local_network[self.ip_version]


OpenInRound: TypeAlias = Callable[[Round], Awaitable[PeerConnection | None]]


async def open_in_rounds(
    uid: str,
    techniques: Sequence[Technique],
    ip_version: int,
    search: Search,
    open_in_round: OpenInRound,
) -> PeerConnection:
    """Try one technique after the other, each in rounds.

    Args:
        uid: the receiver's UID.
        techniques: what to try, in this order.
        ip_version: 4 or 6, by which to meet.
        search: what for.
        open_in_round: gives a round's connection, or None if none came of it.

    Raises:
        NoWayError: no connection came of any round.
    """
    attempts: list[Attempt] = []

    def note(attempt: Attempt) -> None:
        logger.debug("attempt: %s", attempt)
        attempts.append(attempt)
        search.on_attempt(attempt)

    for technique in techniques:
        for opening, seconds in ROUNDS[technique]:
            before, started_at = len(attempts), trio.current_time()
            round_ = Round(uid, technique, opening, ip_version, seconds, search, note)
            connection = await retry_while_busy(partial(open_in_round, round_))
            if connection is not None:
                return connection
            if len(attempts) == before:
                # The program was busy, and the round's time over, before anything was sent.
                took, route = trio.current_time() - started_at, reflexive_route(ip_version)
                note(Attempt(technique, None, None, Outcome.SILENT, took, route))
            if attempts[-1].outcome in _ENDS_TECHNIQUE:
                break
        if attempts[-1].outcome is Outcome.RULED_OUT:
            break
    raise NoWayError(attempts)


async def open_over_new_link(broker: tuple[str, int], round_: Round) -> PeerConnection | None:
    """A round's connection, by one to the broker that is closed afterwards."""
    connection = None
    try:
        async with open_broker_link(broker, (round_.technique,), round_.ip_version) as link:
            connection = await open_over_link(link, round_)
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


async def open_over_link(link: BrokerLink, round_: Round) -> PeerConnection | None:
    """A round's connection, by a link whose port was not used for the UID before.

    Raises:
        BusyError: the broker or the receiver has no room for the introduction now.
        P2PError: the broker refuses everything, or is lost.
    """
    started_at = trio.current_time()
    search, local_network = round_.search, round_.local_network

    def give_up(outcome: Outcome) -> None:
        seconds = trio.current_time() - started_at
        route = reflexive_route(round_.ip_version)
        round_.on_attempt(Attempt(round_.technique, None, None, outcome, seconds, route))

    try:
        introduction = await link.ask(
            round_.uid,
            round_.technique,
            search.kind,
            search.identity,
            local_network.nat,
            port_guessing=search.port_guessing,
            opening=round_.opening,
            search=search.nomination.search,
        )
    except IntroductionError as error:
        logger.info("introduction refused: %s", error)
        give_up(Outcome.NOT_INTRODUCED)
        return None
    strategy = introduction.strategy
    if strategy.is_hopeless:
        give_up(Outcome.RULED_OUT)
        return None
    if introduction.needs_classic:
        give_up(Outcome.NOT_TRIED)
        return None
    remotes = ", ".join(str(dial.remote) for dial in strategy.dials)
    logger.debug("step 12: dialling %s, and accepting", remotes)
    seconds = max(round_.seconds, MIN_ROUND_TRIPS * introduction.round_trip)
    if round_.ip_version == 6:
        seconds += RETRANSMISSION_TIME  # where a SYN that comes too early has to come again
    if strategy.port_guessing is not None:
        seconds = max(seconds, GUESSING_TIME)
    elif introduction.peer.nat.is_symmetric and not local_network.nat.is_known:
        seconds = min(seconds, MIN_ROUND_TRIPS * introduction.round_trip + MIN_ROUND_TIME)
    with link.until_declined(introduction), trio.move_on_after(seconds):
        return await connect_introduced(
            link.shared_port,
            introduction,
            guard_hops=link.guard_hops(local_network),
            on_attempt=round_.on_attempt,
            nomination=search.nomination,
        )
    # It cannot be but for a NAT that we have not looked at.
    await link.learn(local_network)
    return None


_ENDS_TECHNIQUE = (Outcome.NOT_INTRODUCED, Outcome.NOT_TRIED, Outcome.RULED_OUT)
