"""What the commands that are peers make of their options: a peer, and whom it admits."""

from __future__ import annotations

import argparse
from contextlib import AbstractAsyncContextManager

from .._attempt import Technique
from .._broker_client.place import BrokerPlace
from .._identity.peer_id import PeerId, looks_like_peer_id
from .._listen.service import Admit
from .._peer.opening import open_peer
from .._peer.peer import Peer
from .._stream.limits import DEFAULT_GRACE
from .._stream.tracer import Tracer
from .arguments import token_of_environment
from .identity_file import load_or_create_identity
from .known_peers import KnownPeers
from .run import UsageError
from .ticket import Ticket, looks_like_ticket


def open_peer_as_told(
    options: argparse.Namespace, *, has_identity: bool = True, tracer: Tracer | None = None
) -> AbstractAsyncContextManager[Peer]:
    """A peer that goes the ways that the user has chosen.

    Args:
        options: of the command line.
        has_identity: whether it has the user's identity, and not one that no peer knows.
        tracer: is told of what happens.

    Raises:
        UsageError: the options do not go together.
        CommandError: there is no place for the user's identity.
        IdentityError: its file cannot be used.
    """
    brokers, techniques = brokers_of(options), _techniques(options)
    return open_peer(
        brokers,
        identity=load_or_create_identity(options.identity) if has_identity else None,
        techniques=techniques,
        grace=grace_of(options),
        tracer=tracer,
        token=_token(options),
    )


def admitted_by(options: argparse.Namespace) -> Admit | None:
    """What says which peers the user wants to admit, or None for all.

    Raises:
        UsageError: the user has named a peer that is not known, or no broker.
    """
    broker = brokers_of(options)[0].address
    if options.admit is None:
        return None
    return frozenset(_peer_called(name, broker) for name in options.admit).__contains__


def _peer_called(name: str, broker: tuple[str, int]) -> PeerId:
    """The peer with this peer id, or the one that has answered to this UID."""
    if looks_like_peer_id(name):
        return PeerId.parse(name)
    if looks_like_ticket(name):
        return Ticket.parse(name).peer_id
    known_peers = KnownPeers()
    peer_id = known_peers.named(name) or known_peers.lookup(broker, name)
    if peer_id is None:
        raise UsageError(
            f"{name!r} is no peer to admit: give a peer id, as `trio-p2p id` prints it there, or a "
            f"UID at {broker[0]}:{broker[1]} that you have connected to"
        )
    return peer_id


def brokers_of(options: argparse.Namespace) -> list[BrokerPlace]:
    """The brokers that the user has named, the best first.

    Raises:
        UsageError: there are none.
    """
    if options.broker is None:
        raise UsageError(
            "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER to HOST:PORT"
        )
    return list(options.broker)


def grace_of(options: argparse.Namespace) -> float:
    """For how many seconds to look for another path."""
    return DEFAULT_GRACE if options.grace is None else options.grace


def _techniques(options: argparse.Namespace) -> list[str]:
    techniques: list[str] = options.only or list(Technique)
    if options.raw or options.no_relay:
        techniques = [technique for technique in techniques if technique != Technique.RELAY]
    if not techniques:
        option = "--raw" if options.raw else "--no-relay"
        raise UsageError(
            f"{option} and --only {Technique.RELAY} leave no way to a peer: leave one of them out"
        )
    return techniques


def _token(options: argparse.Namespace) -> str | None:
    """The access token: the option's, or the environment's, which other users do not see."""
    token: str | None = options.token or token_of_environment()
    return token
