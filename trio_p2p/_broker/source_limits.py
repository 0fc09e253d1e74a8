"""How much one source may ask of the broker, so that others are served. Sans-IO.

A source is an IPv4 address or an IPv6 /64.
"""

from __future__ import annotations

from typing import NoReturn

import attrs

from .._wire.messages import RefusalCode
from .connection import Connection, Name
from .quota import network_of
from .refusals import refuse
from .shares import Windows

MAX_SOURCES = 16_384  # that are remembered, of each kind; some 3 MiB

# Seconds.
INTRODUCTIONS_TIME = 15.0  # as long as a receiver spends on an introduction at most
UNKNOWN_TIME = 60.0
GUESSING_TIME = 60.0


@attrs.frozen
class SourceLimits:
    """What one source may do.

    Attributes:
        introductions: how many introductions to one receiver it gets in 15 seconds.
        unknown_uids: how many UIDs that are not registered it may ask for in a minute. After twice
            as many its connections are closed, except where something is registered.
        guessings: how many introductions it gets in a minute in which both sides would guess ports.
    """

    introductions: int = 512
    unknown_uids: int = 60
    guessings: int = 6


DEFAULT_SOURCE_LIMITS = SourceLimits()


class SourceQuota:
    """Counts what sources do.

    Args:
        limits: what each may.
    """

    def __init__(self, limits: SourceLimits) -> None:
        self._limits = limits
        self._introductions = Windows(INTRODUCTIONS_TIME, MAX_SOURCES)
        self._unknown = Windows(UNKNOWN_TIME, MAX_SOURCES)
        self._guessings = Windows(GUESSING_TIME, MAX_SOURCES)

    def check_introduction(
        self, sender: Connection, receiver: Name, number: int, now: float
    ) -> None:
        """Count an introduction.

        Raises:
            RefusalError: it is one too many.
        """
        source = receiver.uid, network_of(sender.endpoint.address)
        if self._introductions.count(source, now) > self._limits.introductions:
            refuse(
                RefusalCode.BUSY,
                f"this broker introduces {self._limits.introductions} times in "
                f"{INTRODUCTIONS_TIME:g} seconds from one IP address to one receiver: try again "
                "later",
                number,
                retry_after=self._introductions.rest(source, now),
            )

    def refuse_unknown(self, sender: Connection, number: int, now: float) -> NoReturn:
        """Count a UID that is not registered, and refuse it.

        Raises:
            RefusalError: always.
        """
        source, limit = network_of(sender.endpoint.address), self._limits.unknown_uids
        count = self._unknown.count(source, now)
        if count <= limit:
            refuse(RefusalCode.UNKNOWN_UID, "no receiver is registered under this UID", number)
        refuse(
            RefusalCode.BUSY,
            f"one IP address may ask this broker for {limit} unknown UIDs in "
            f"{UNKNOWN_TIME:g} seconds: try again later",
            # A peer is not to lose its names because others at its address guess.
            number if count <= 2 * limit or sender.registration is not None else None,
            retry_after=self._unknown.rest(source, now),
        )

    def may_guess(self, sender: Connection, now: float) -> bool:
        """Whether the sender may have an introduction in which ports are guessed; counts it."""
        source = network_of(sender.endpoint.address)
        return self._guessings.count(source, now) <= self._limits.guessings
