"""The peers' way to a connection that the broker relays."""

from __future__ import annotations

import logging

import trio

from .._addresses import Endpoint
from .._attempt import Attempt, Outcome, Technique
from .._errors import IntroductionError, P2PError, RelayError
from .._net.attempt_log import AttemptLog
from .._peer_connection import PeerConnection
from .._wire.messages import (
    IntroductionRequest,
    JoinRelay,
    Refused,
    Relayed,
    RelayRequest,
    StreamKind,
)
from .connection import INTRODUCTION_TIME, BrokerConnection, unexpected
from .finder import BrokerFinder
from .refusals import error_of

logger = logging.getLogger("trio_p2p.relay")

_CAPABILITIES = (Technique.RELAY,)


async def ask_for_relay(
    broker: BrokerFinder, uid: str, certificate: bytes, attempts: AttemptLog
) -> PeerConnection:
    """The sender's end of a relayed connection to the receiver of a UID.

    Args:
        broker: finds the broker that relays.
        uid: the receiver's.
        certificate: ours.
        attempts: where the attempt is noted.

    Raises:
        UnknownUIDError: no receiver is registered under the UID.
        IntroductionError: the receiver cannot be relayed to, or does not answer.
        RelayError: the broker does not relay, or not that much.
        BrokerUnreachableError: no broker answers there.
        BrokerLostError: it closed the connection.

    If cancelled, the connection is closed.
    """
    request = IntroductionRequest(0, uid, Technique.RELAY, StreamKind.SESSION, certificate)
    started_at = trio.current_time()

    def note(outcome: Outcome, local: Endpoint | None, remote: Endpoint | None) -> None:
        seconds = trio.current_time() - started_at
        attempts.note(Attempt(Technique.RELAY, local, remote, outcome, seconds))

    try:
        leg = await broker.find(_CAPABILITIES)
        connection = await _request_relay(leg, request, None)
    except (IntroductionError, RelayError):
        note(Outcome.NOT_INTRODUCED, None, None)
        raise
    note(Outcome.CONNECTED, leg.local, leg.remote)
    return connection


async def join_relay(
    broker: BrokerFinder,
    endpoint: Endpoint,
    request: RelayRequest,
) -> PeerConnection:
    """The receiver's end of a relayed connection to a sender.

    Args:
        broker: connects to the broker.
        endpoint: where the registration's broker is.
        request: what it sent.

    Raises:
        LocalProtocolError: the sender does not wait any more.
        P2PError: the broker is lost, or refuses it.

    If cancelled, the connection is closed.
    """
    leg = await broker.connect_to(endpoint, _CAPABILITIES)
    return await _request_relay(leg, JoinRelay(request.introduction), request.certificate)


async def _request_relay(
    connection: BrokerConnection,
    request: IntroductionRequest | JoinRelay,
    certificate: bytes | None,
) -> PeerConnection:
    if isinstance(request, IntroductionRequest):
        connection.uid = request.uid
    try:
        await connection.send(request)
        match await connection.receive_answer(INTRODUCTION_TIME):
            case Relayed() as relayed:
                certificate = certificate or relayed.certificate
                if certificate is None:
                    raise unexpected(relayed)
            case Refused() as refused:
                raise error_of(refused, connection.remote, connection.uid)
            case message:
                raise unexpected(message)
    except BaseException:
        await trio.aclose_forcefully(connection)
        raise
    if relayed.bytes_per_second is not None:
        logger.info("relay limit: %d bytes per second", relayed.bytes_per_second)
    if relayed.max_bytes is not None:
        logger.info("relay limit: %d bytes in total", relayed.max_bytes)
    try:
        stream, received = connection.detach()
    except P2PError:
        connection.close()
        raise
    return PeerConnection(
        stream,
        Technique.RELAY,
        certificate,
        relayed.circuit,
        received,
        endpoints=(connection.local, connection.remote),
    )
