"""What callers hand in, checked: every mistake gets a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from ._attempt import Technique
from ._broker_client.place import BrokerPlace, parse_brokers
from ._errors import LocalProtocolError, shown
from ._identity.access_token import parse_token
from ._identity.identity import Identity
from ._identity.peer_id import PeerId, looks_like_peer_id
from ._stream.credit import EARLY_STREAMS, MAX_STREAMS, reserved_memory
from ._stream.frames import MAX_WINDOW, MIN_WINDOW
from ._stream.limits import ConnectionLimits
from ._stream.stream_path import PathKind
from ._stream.tracer import GuardedTracer, Tracer
from ._wire.uids import parse_uid

BrokerAddress: TypeAlias = str | tuple[str, int] | BrokerPlace
Brokers: TypeAlias = BrokerAddress | Sequence[BrokerAddress]

ALL_TECHNIQUES = tuple(Technique)
RELAY_ONLY = "raw streams are never relayed: allow other techniques than the relay"


def parse_expected(uid: str, expect: object) -> PeerId | None:
    """Whom to expect as the owner of a UID, if the caller knows or the UID says it.

    Raises:
        LocalProtocolError: what the caller expects is no peer id, or contradicts the UID.
    """
    if not isinstance(expect, str | PeerId | None):
        raise LocalProtocolError(f"{shown(expect)} is no peer id: give one, or its text")
    expected = PeerId.parse(expect) if isinstance(expect, str) else expect
    if looks_like_peer_id(uid):
        dialled = PeerId.parse(uid)
        if expected not in (None, dialled):
            raise LocalProtocolError(f"{uid} cannot be expected to be {expected}: leave one out")
        return dialled
    return expected


def parse_techniques(techniques: Sequence[str]) -> tuple[Technique, ...]:
    """The techniques of these names, in this order.

    Raises:
        LocalProtocolError: there is none, or one is not known.
    """
    known = ", ".join(repr(str(technique)) for technique in Technique)
    match techniques:
        case [_, *_] if all(technique in list(Technique) for technique in techniques):
            return tuple(dict.fromkeys(map(Technique, techniques)))
        case _:
            raise LocalProtocolError(
                f"{shown(techniques)} is no list of techniques: choose from {known}"
            )


def direct_techniques(techniques: Sequence[Technique]) -> tuple[Technique, ...]:
    """Return the techniques that lead to a direct connection, in their order."""
    return tuple(each for each in techniques if each is not Technique.RELAY)


def parse_window(window: object) -> int:
    """How many bytes a connection may hold that are not acknowledged.

    Raises:
        LocalProtocolError: it is no such number.
    """
    if type(window) is not int or not MIN_WINDOW <= window <= MAX_WINDOW:
        raise LocalProtocolError(
            f"{shown(window)} is no window: give a number of bytes, at least {MIN_WINDOW} and at "
            f"most {MAX_WINDOW}"
        )
    return window


def parse_max_streams(streams: object) -> int:
    """How many streams a peer may have open over one connection.

    Raises:
        LocalProtocolError: it is no such number.
    """
    if type(streams) is not int or not EARLY_STREAMS <= streams <= MAX_STREAMS:
        raise LocalProtocolError(
            f"{shown(streams)} is no number of streams: give one from {EARLY_STREAMS} to "
            f"{MAX_STREAMS}"
        )
    return streams


def parse_max_memory(memory: object, streams: int) -> int:
    """How many bytes the streams of a connection may hold together.

    Args:
        memory: what the caller has given.
        streams: how many streams a peer may have open.

    Raises:
        LocalProtocolError: they are too few.
    """
    least = reserved_memory(streams)
    if type(memory) is not int or memory < least:
        raise LocalProtocolError(
            f"{shown(memory)} is not memory enough for {streams} streams: give a number of bytes, "
            f"at least {least}, or allow fewer streams"
        )
    return memory


def parse_max_connections(connections: object) -> int:
    """How many connections a peer may have open.

    Raises:
        LocalProtocolError: it is no such number.
    """
    if type(connections) is not int or connections < 1:
        raise LocalProtocolError(
            f"{shown(connections)} is no number of connections: give one, at least 1"
        )
    return connections


def parse_grace(grace: object) -> float:
    """How long a stream waits for another path.

    Raises:
        LocalProtocolError: it is no time.
    """
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not grace >= 0:
        raise LocalProtocolError(f"{shown(grace)} is no time: give seconds, 0 or more")
    return grace


def parse_identity(identity: object) -> Identity:
    """The identity that a caller has given, or a new one for None.

    Raises:
        LocalProtocolError: it is none.
    """
    if identity is None:
        return Identity.generate()
    if not isinstance(identity, Identity):
        raise LocalProtocolError(
            f"{shown(identity)} is no identity: give what Identity.load('file') returns, or leave "
            "identity= out for a new one"
        )
    return identity


def parse_tracer(tracer: object) -> Tracer:
    """The tracer that a caller has given, guarded, or one that does nothing for None.

    Raises:
        LocalProtocolError: it is none.
    """
    if not isinstance(tracer, Tracer | None):
        raise LocalProtocolError(
            f"{shown(tracer)} is no tracer: give an object of a subclass of trio_p2p.Tracer"
        )
    return Tracer() if tracer is None else GuardedTracer(tracer)


def parse_path_kind(path: object) -> PathKind | None:
    """The kind of path that a caller wants, or None for any.

    Raises:
        LocalProtocolError: it is none.
    """
    if path is not None and path not in list(PathKind):
        raise LocalProtocolError(f"{shown(path)} is no kind of path: give 'direct' or 'relay'")
    return None if path is None else PathKind(str(path))


def check_flag(name: str, value: object) -> None:
    """Make sure that the option of this name is True or False.

    Raises:
        LocalProtocolError: it is not.
    """
    if not isinstance(value, bool):
        raise LocalProtocolError(f"{shown(value)} is no value for {name}=: give True or False")


def check_callback(name: str, function: object, example: str) -> None:
    """Make sure that the option of this name is a function, or None.

    Args:
        name: the option's.
        function: its value.
        example: what to give instead.

    Raises:
        LocalProtocolError: it is not.
    """
    if function is not None and not callable(function):
        raise LocalProtocolError(f"{shown(function)} is no value for {name}=: give {example}")


def parse_registered_uid(uid: str | PeerId, own: PeerId) -> str:
    """The UID to register, if we may.

    Args:
        uid: what the caller has given.
        own: our peer id.

    Raises:
        LocalProtocolError: it is none, or the peer id of another identity.
    """
    checked = parse_uid(uid)
    if parse_expected(checked, None) not in (None, own):
        raise LocalProtocolError(
            f"{checked} is the peer id of another identity: register {own}, or a name"
        )
    return checked


@attrs.frozen
class PeerOptions:
    """The options of a peer, checked.

    Attributes:
        brokers: where they are, the best first.
        identity: who we are.
        techniques: by which techniques to be introduced.
        limits: what each connection may take of memory and time.
        max_connections: how many connections one peer may have made to this one.
        port_guessing: whether to guess ports of a NAT that gives them at random.
        tracer: what to tell of what happens.
        token: the access token to show to the broker, if there is any.
    """

    brokers: tuple[BrokerPlace, ...]
    identity: Identity
    techniques: tuple[Technique, ...]
    limits: ConnectionLimits
    max_connections: int
    port_guessing: bool
    tracer: Tracer
    token: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(
        cls,
        broker: Brokers,
        *,
        identity: Identity | None,
        techniques: Sequence[str],
        window: int,
        grace: float,
        max_streams: int,
        max_memory: int,
        max_connections: int,
        port_guessing: bool,
        tracer: Tracer | None,
        token: str | None,
    ) -> PeerOptions:
        """The options that a caller has given.

        Raises:
            LocalProtocolError: one of them is wrong.
        """
        check_flag("port_guessing", port_guessing)
        streams = parse_max_streams(max_streams)
        limits = ConnectionLimits(
            window=parse_window(window),
            memory=parse_max_memory(max_memory, streams),
            streams=streams,
            grace=parse_grace(grace),
        )
        return cls(
            parse_brokers(broker),
            parse_identity(identity),
            parse_techniques(techniques),
            limits,
            parse_max_connections(max_connections),
            port_guessing,
            parse_tracer(tracer),
            None if token is None else parse_token(token),
        )
