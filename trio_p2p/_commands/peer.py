"""``trio-p2p listen`` and ``trio-p2p connect``: one peer, joined with the standard streams."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from .._attempt import Technique
from .._broker_client.place import BrokerPlace
from .._errors import WrongPeerError
from .._identity.identity import Identity
from .._identity.peer_id import PeerId, looks_like_peer_id
from .._net.nursery import open_background_nursery
from .._peer.opening import open_peer
from .._peer.peer import Peer
from .._stream.limits import DEFAULT_GRACE
from .._stream.p2p_stream import P2PStream
from .._stream.tracer import Tracer
from .arguments import token_of_environment
from .bridge import bridge_standard_streams
from .identity_file import load_or_create_identity
from .known_peers import KnownPeers
from .report import Report
from .run import UsageError
from .standard_streams import require_standard_streams


async def listen(options: argparse.Namespace) -> None:
    """Wait for one peer, and talk to it.

    A session stays registered as long as it lasts, because its peer finds another path to it that
    way; a raw connection has no use for that.
    """
    require_standard_streams()
    _refuse_without_sessions(options, "grace", "admit")
    brokers, techniques = _brokers(options), _techniques(options)
    admitted = _admitted(options, brokers[0].address)
    identity = load_or_create_identity(options.identity)
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(
            open_peer(
                brokers,
                identity=identity,
                techniques=techniques,
                grace=_grace(options),
                token=_token(options),
            )
        )
        if options.raw:
            async with peer.listen_raw(options.uid) as raw_listener:
                _say(options, f"waiting for a peer as {options.uid!r}, without encryption")
                raw_stream = await raw_listener.accept()
            async with raw_stream:
                await bridge_standard_streams(raw_stream)
            return
        listener = await stack.enter_async_context(
            peer.listen(options.uid, admit=None if admitted is None else admitted.__contains__)
        )
        _say(options, f"waiting for a peer as {options.uid!r}; we are {listener.peer_id}")
        stream = await listener.accept()
        nursery = await stack.enter_async_context(open_background_nursery())
        nursery.start_soon(listener.drain)  # there is no place for another one
        _say(options, f"connected to {stream.peer_id}")
        await bridge_standard_streams(stream)


async def connect(options: argparse.Namespace) -> None:
    """Connect to a peer that listens, talk to it, and report."""
    require_standard_streams()
    report = Report(options.report)
    try:
        _refuse_without_sessions(options, "identity", "expect", "grace")
        await (_connect_raw if options.raw else _connect)(options, report)
    finally:
        report.write()


async def _connect(options: argparse.Namespace, report: Report) -> None:
    identity = load_or_create_identity(options.identity)
    async with _open_peer(options, report, identity) as peer:
        stream = await _open_stream(peer, options)
        _say(options, f"connected to {stream.peer_id}")
        await bridge_standard_streams(stream)


async def _open_stream(peer: Peer, options: argparse.Namespace) -> P2PStream:
    """A stream to the peer that has answered to the UID before, if any has and no other is said."""
    if options.expect is not None:
        return await peer.open_stream(options.uid, expect=options.expect)
    broker, known_peers = _brokers(options)[0].address, KnownPeers()
    known = known_peers.lookup(broker, options.uid)
    try:
        stream = await peer.open_stream(options.uid, expect=known)
    except WrongPeerError as error:
        if known is None:
            raise
        raise known_peers.changed_peer_error(
            broker, options.uid, known=known, found=error.found
        ) from error
    known_peers.remember(broker, options.uid, stream.peer_id)
    return stream


async def _connect_raw(options: argparse.Namespace, report: Report) -> None:
    async with (
        _open_peer(options, report) as peer,
        await peer.open_raw_stream(options.uid) as stream,
    ):
        report.note_opened_raw()
        await bridge_standard_streams(stream)


def _open_peer(
    options: argparse.Namespace, tracer: Tracer, identity: Identity | None = None
) -> AbstractAsyncContextManager[Peer]:
    return open_peer(
        _brokers(options),
        identity=identity,
        techniques=_techniques(options),
        grace=_grace(options),
        tracer=tracer,
        token=_token(options),
    )


def _admitted(options: argparse.Namespace, broker: tuple[str, int]) -> frozenset[PeerId] | None:
    """The peers that the user wants to admit, or None for all."""
    if options.admit is None:
        return None
    return frozenset(_peer_called(name, broker) for name in options.admit)


def _peer_called(name: str, broker: tuple[str, int]) -> PeerId:
    """The peer with this peer id, or the one that has answered to this UID."""
    if looks_like_peer_id(name):
        return PeerId.parse(name)
    peer_id = KnownPeers().lookup(broker, name)
    if peer_id is None:
        raise UsageError(
            f"{name!r} is no peer to admit: give a peer id, as `trio-p2p id` prints it there, or a "
            f"UID at {broker[0]}:{broker[1]} that you have connected to"
        )
    return peer_id


def _refuse_without_sessions(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that only sessions have a use for."""
    for name in names:
        if options.raw and getattr(options, name) is not None:
            raise UsageError(
                f"a raw connection proves no identity, and does not outlive its path: "
                f"leave --{name} out, or --raw"
            )


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


def _grace(options: argparse.Namespace) -> float:
    return DEFAULT_GRACE if options.grace is None else options.grace


def _brokers(options: argparse.Namespace) -> list[BrokerPlace]:
    if options.broker is None:
        raise UsageError(
            "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER to HOST:PORT"
        )
    return list(options.broker)


def _token(options: argparse.Namespace) -> str | None:
    """The access token: the option's, or the environment's, which other users do not see."""
    token: str | None = options.token or token_of_environment()
    return token


def _say(options: argparse.Namespace, text: str) -> None:
    """Tell who watches."""
    if options.verbose or sys.stderr.isatty():
        print(f"trio-p2p: {text}", file=sys.stderr)
