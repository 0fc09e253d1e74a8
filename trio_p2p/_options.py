"""What callers hand in, checked: every mistake gets a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import attrs
import trio

from ._attempt import Technique
from ._errors import LocalProtocolError, shown
from ._identity.identity import Identity
from ._identity.peer_id import PeerId, looks_like_peer_id
from ._stream.tracer import GuardedTracer, Tracer
from ._stream.window import MIN_WINDOW
from ._wire.messages import check_uid

BrokerAddress: TypeAlias = str | tuple[str, int]

ALL_TECHNIQUES = tuple(Technique)
RELAY_ONLY = "raw streams are never relayed: allow other techniques than the relay"


_PORT = re.compile("[0-9]{1,5}")


def parse_uid(uid: str | PeerId) -> str:
    """The UID, if it is one.

    Raises:
        LocalProtocolError: it is not, or looks like a peer id with a mistake in it.
    """
    text = str(uid) if isinstance(uid, PeerId) else uid
    try:
        checked = check_uid(text)
    except ValueError as error:
        raise LocalProtocolError(f"{shown(uid)} is no UID: {error}") from None
    if looks_like_peer_id(checked):
        PeerId.parse(checked)
    return checked


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
    """Those of the techniques that lead to a direct connection, in the same order."""
    return tuple(each for each in techniques if each is not Technique.RELAY)


def parse_window(window: object) -> int:
    """How many bytes a stream may hold.

    Raises:
        LocalProtocolError: these are too few.
    """
    if type(window) is not int or window < MIN_WINDOW:
        raise LocalProtocolError(
            f"{shown(window)} is no window: give a number of bytes, at least {MIN_WINDOW}"
        )
    return window


def parse_grace(grace: object) -> float:
    """How long a stream waits for another path.

    Raises:
        LocalProtocolError: it is no time.
    """
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not grace >= 0:
        raise LocalProtocolError(f"{shown(grace)} is no time: give seconds, 0 or more")
    return grace


def parse_broker(broker: object) -> tuple[str, int]:
    """Host and port of a broker, given as ``"HOST:PORT"``, ``"[IPv6]:PORT"`` or as a tuple.

    Raises:
        LocalProtocolError: it is none of these.
    """
    match broker:
        case str():
            host, _, port_text = broker.rpartition(":")
            host = host.removeprefix("[").removesuffix("]")
            port = int(port_text) if _PORT.fullmatch(port_text) else 0
        case (str(host), int(port)) if not isinstance(port, bool):
            pass
        case _:
            host, port = "", 0
    if not host or not 0 < port < 65536:
        raise LocalProtocolError(
            f"{shown(broker)} is no broker: give HOST:PORT, like 'broker.example.org:4433', "
            "or a tuple of host and port"
        )
    return host, port


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


def check_serving(handler: object, handler_nursery: object) -> None:
    """Make sure that streams can be served by a handler, in a nursery or in one of its own.

    Raises:
        LocalProtocolError: they cannot.
    """
    if not callable(handler):
        raise LocalProtocolError(
            f"{shown(handler)} is no handler: give an async function of a stream"
        )
    if not isinstance(handler_nursery, trio.Nursery | None):
        raise LocalProtocolError(
            f"{shown(handler_nursery)} is no value for handler_nursery=: give a trio.Nursery"
        )


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
    """What everything that a peer does has in common.

    Attributes:
        broker: host and port.
        identity: who we are.
        techniques: by which techniques to be introduced.
        window: how many bytes each stream may hold.
        grace: for how many seconds a stream waits for another path.
        port_guessing: whether to guess ports of a NAT that gives them at random.
        tracer: what to tell of what happens.
    """

    broker: tuple[str, int]
    identity: Identity
    techniques: tuple[Technique, ...]
    window: int
    grace: float
    port_guessing: bool
    tracer: Tracer

    @classmethod
    def parse(
        cls,
        broker: BrokerAddress,
        *,
        identity: Identity | None,
        techniques: Sequence[str],
        window: int,
        grace: float,
        port_guessing: bool,
        tracer: Tracer | None,
    ) -> PeerOptions:
        """The options that a caller has given.

        Raises:
            LocalProtocolError: one of them is wrong.
        """
        check_flag("port_guessing", port_guessing)
        return cls(
            parse_broker(broker),
            parse_identity(identity),
            parse_techniques(techniques),
            parse_window(window),
            parse_grace(grace),
            port_guessing,
            parse_tracer(tracer),
        )
