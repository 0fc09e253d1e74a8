"""How much a broker does for one source, and how much it holds for all of them. Pure.

A source is an IPv4 address or an IPv6 /64. Thousands of honest clients may share one, behind the
NAT of an office or of a mobile carrier, so the limits are far above what one client needs. All
sources of an identity that is proven are one source as well.
"""

from __future__ import annotations

from typing import Any

import attrs

from .._errors import LocalProtocolError
from .._wire.messages import MAX_COUNT

MIB = 1 << 20


def _check_count(_limits: BrokerLimits, attribute: attrs.Attribute[Any], value: Any) -> None:
    if type(value) is not int or not 1 <= value <= MAX_COUNT:
        raise LocalProtocolError(
            f"{attribute.name} of BrokerLimits must be a whole number of at least 1, not {value!r}"
        )


def _limit(default: int) -> int:
    return attrs.field(default=default, validator=_check_count)


@attrs.frozen
class BrokerLimits:
    """What a broker takes from one source, and in all, before it refuses more.

    A source is an IPv4 address or an IPv6 /64: many clients may share one. All that come with one
    identity, and have proven it, count together as well, but for connections, probes and memory.
    What is too much is refused, with the time after which to ask again, and clients do ask again
    then. Receivers that are registered stay so.

    Attributes:
        connections: how many connections of one source the broker serves at a time.
        connections_per_second: how many more of them it takes each second, after ten times as many
            at once.
        registrations: how many UIDs one source may register at a time.
        introductions: how many introductions to one receiver a source gets in 15 seconds.
        unknown_uids: how many UIDs that are not registered a source may ask for in a minute. After
            twice as many its connections are closed, except where something is registered.
        guessings: how many introductions a source gets in a minute in which both sides would guess
            ports.
        reports: how many reports of a source, of what came of introductions, count in a minute.
        watches: how many UIDs one source may watch at a time.
        probes: how many probes of one source are answered in a minute.
        messages_per_second: how many messages the broker reads from one connection each second,
            after twelve times as many at once. What is more is read later, not refused.
        source_messages_per_second: the same for all connections of one source, after four times
            as many at once.
        memory: how many bytes the broker holds for its clients, as it estimates. No source, and no
            IPv4 /24 or IPv6 /48, gets more than is left for all others.

    Raises:
        LocalProtocolError: a limit is too low, or not a number.
    """

    connections: int = _limit(8192)
    connections_per_second: int = _limit(200)
    registrations: int = _limit(8192)
    introductions: int = _limit(512)
    unknown_uids: int = _limit(300)
    guessings: int = _limit(6)
    reports: int = _limit(120)
    watches: int = _limit(4096)
    probes: int = _limit(600)
    messages_per_second: int = _limit(50)
    source_messages_per_second: int = _limit(1000)
    memory: int = _limit(512 * MIB)


DEFAULT_BROKER_LIMITS = BrokerLimits()
