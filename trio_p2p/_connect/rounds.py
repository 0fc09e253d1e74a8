"""What a sender tries, round after round, until a direct connection comes of one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from .._attempt import Attempt, Outcome, Technique
from .._control.broker_link import BrokerLink
from .._control.claims import ClaimedError
from .._control.control import Control
from .._errors import BrokerLostError, IntroductionError, UnknownUIDError
from .._net.attempt_log import AttemptLog
from .._net.winner import Winner
from .._peer_connection import PeerConnection
from .._traversal.introduction import Introduction
from .._traversal.nomination import Nomination
from .._traversal.punch_schedule import RETRANSMISSION_TIME
from .._traversal.race import connect_introduced
from .._traversal.strategy import reflexive_route
from .._wire.messages import StreamKind
from .._wire.offer import Opening
from .patience import retry_while_busy
from .reports import Reporter

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
MIN_ROUND_TRIPS = 6  # a round lasts as long at least: for three SYNs, with growing patience


class NoWayError(Exception):
    """No connection came of any round."""


@attrs.frozen
class Search:
    """The search for one direct connection to a receiver.

    Attributes:
        uid: the receiver's UID.
        kind: what is to be made of the connection.
        techniques: what to try, in this order.
        attempts: where each attempt is noted, by either version of IP.
        nomination: of the one connection.
        reporter: keeps what the broker is to be told of the search.
    """

    uid: str
    kind: StreamKind
    techniques: Sequence[Technique]
    attempts: AttemptLog
    nomination: Nomination = attrs.field(factory=Nomination)
    reporter: Reporter = attrs.field(factory=Reporter)


@attrs.frozen
class Round:
    """One introduction, between endpoints that had none before.

    Attributes:
        search: what it is for.
        technique: how to be introduced.
        opening: how to begin.
        seconds: how long to try, unless the round trip is very long.
    """

    search: Search
    technique: Technique
    opening: Opening
    seconds: float


async def open_in_rounds(control: Control, search: Search) -> PeerConnection:
    """Try one technique after the other, each in rounds, by one version of IP.

    Args:
        control: the connection to the broker by that version.
        search: what to look for.

    Raises:
        NoWayError: no connection came of any round.
        P2PError: the broker is not reached, or refuses everything.
    """
    for technique in search.techniques:
        for opening, seconds in ROUNDS[technique]:
            before, started_at = len(search.attempts.ended), trio.current_time()
            round_ = Round(search, technique, opening, seconds)
            found = await retry_while_busy(partial(_open, control, round_))
            if isinstance(found, PeerConnection):
                return found
            if found is not Outcome.SILENT or len(search.attempts.ended) == before:
                # If silent: the program was busy, and the time over, before anything was sent.
                took, route = trio.current_time() - started_at, reflexive_route(control.ip_version)
                search.attempts.note(Attempt(technique, None, None, found, took, route))
            if found is Outcome.RULED_OUT:
                raise NoWayError
            if found is not Outcome.SILENT:
                break
    raise NoWayError


async def _open(control: Control, round_: Round) -> PeerConnection | Outcome:
    """A round's connection: the first one between two peers from the port that all share.

    Or its outcome: silent if no answer came that was of use, else why nothing was sent.
    """
    if round_.technique is Technique.FAST:  # else the broker closes the connection (step 11)
        link = await control.use()
        if round_.search.uid not in link.asked:
            link.asked.add(round_.search.uid)  # before others ask that are to come at once
            try:
                return await _open_over(link, round_)
            except UnknownUIDError:
                link.asked.discard(round_.search.uid)  # nothing was introduced to the port
                raise
            except ClaimedError:
                logger.debug("the port %d is in use towards the receiver", link.shared_port.port)
            except BrokerLostError as error:
                logger.debug("the connection to the broker was stale: %s", error)
                return await _open_over(await control.use(), round_)
    with Winner(PeerConnection.close) as winner:
        async with control.open_fresh_link([round_.technique]) as link:
            found = await _open_over(link, round_)
            if isinstance(found, PeerConnection):
                winner.offer(found)
    return winner.found or found


async def _open_over(link: BrokerLink, round_: Round) -> PeerConnection | Outcome:
    """A round's connection, from the port of a link.

    Raises:
        BusyError: the broker or the receiver has no room for the introduction now.
        ClaimedError: the port is in use towards the receiver.
        P2PError: the broker refuses everything, or is lost.
    """
    search = round_.search
    try:
        introduction = await link.ask(
            search.uid,
            round_.technique,
            search.kind,
            opening=round_.opening,
            search=search.nomination.search,
        )
    except IntroductionError as error:
        logger.info("introduction refused: %s", error)
        return Outcome.NOT_INTRODUCED
    search.reporter.introduced(link, introduction)
    if introduction.strategy.is_hopeless:
        return Outcome.RULED_OUT
    if introduction.needs_classic:
        return Outcome.NOT_TRIED
    with link.claimed(introduction):
        return await _connect(link, round_, introduction)


async def _connect(
    link: BrokerLink, round_: Round, introduction: Introduction
) -> PeerConnection | Outcome:
    """Dial and accept, for as long as a round lasts."""
    strategy = introduction.strategy
    remotes = ", ".join(str(dial.remote) for dial in strategy.dials)
    logger.debug("step 12: dialling %s, and accepting", remotes)
    seconds = max(round_.seconds, MIN_ROUND_TRIPS * introduction.round_trip)
    if link.ip_version == 6:
        seconds += RETRANSMISSION_TIME  # where a SYN that comes too early has to come again
    if strategy.port_guessing is not None:
        seconds = max(seconds, GUESSING_TIME)
    elif introduction.peer.nat.is_symmetric and not link.local_network.nat.is_known:
        seconds = min(seconds, MIN_ROUND_TRIPS * introduction.round_trip + MIN_ROUND_TIME)
    with link.until_declined(introduction), trio.move_on_after(seconds):
        return await connect_introduced(
            link.shared_port,
            introduction,
            guard_hops=link.guard_hops,
            attempts=round_.search.attempts,
            nomination=round_.search.nomination,
        )
    # It cannot be but for a NAT that we have not looked at.
    await link.learn()
    return Outcome.SILENT
