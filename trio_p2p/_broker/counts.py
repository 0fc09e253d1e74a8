"""Counts what a broker does, for its operator: numbers of a few kinds, and of no client. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TypeAlias

import attrs

from .._addresses import Endpoint
from .._attempt import Technique
from .._wire.messages import RefusalCode, Refused, Report
from .._wire.offer import Behaviour
from .observer import Observer

# Upper bounds, in seconds, of how long searches take that find a direct connection.
DURATIONS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

Pair: TypeAlias = tuple[Behaviour | None, Behaviour | None]


@attrs.define(eq=False)
class Counts(Observer):
    """All since the broker was started. Every key is a member of an enum, so memory is bounded.

    Attributes:
        registrations: how many receivers have registered.
        introductions: how many requests were passed on, by technique.
        outcomes: what senders have reported: the technique of the direct connection; None if none
            was found.
        durations: of the searches that found one, by the first bound that is as long; the last one
            counts those that took longer than any.
        duration: of all those together, in seconds.
        found: reports of a direct connection, by what the NATs of both peers map by.
        missed: reports that no direct connection was found, by the same.
        refusals: by code.
        circuits: how many circuits have ended.
    """

    registrations: int = 0
    introductions: Counter[Technique] = attrs.field(factory=Counter[Technique])
    outcomes: Counter[Technique | None] = attrs.field(factory=Counter["Technique | None"])
    durations: list[int] = attrs.field(factory=lambda: [0] * (len(DURATIONS) + 1))
    duration: float = 0.0
    found: Counter[Pair] = attrs.field(factory=Counter[Pair])
    missed: Counter[Pair] = attrs.field(factory=Counter[Pair])
    refusals: Counter[RefusalCode] = attrs.field(factory=Counter[RefusalCode])
    circuits: int = 0

    def registered(self, uid: str, endpoint: Endpoint) -> None:  # noqa: ARG002 - not kept
        self.registrations += 1

    def introduced(self, technique: Technique) -> None:
        self.introductions[technique] += 1

    def refused(self, endpoint: Endpoint, refusal: Refused) -> None:  # noqa: ARG002 - not kept
        self.refusals[refusal.code] += 1

    def reported(self, report: Report) -> None:
        self.outcomes[report.connected_by] += 1
        pair = report.mapping, report.peer_mapping
        if report.connected_by is None:
            self.missed[pair] += 1
            return
        self.found[pair] += 1
        seconds = report.duration / 1000
        self.duration += seconds
        self.durations[bisect_left(DURATIONS, seconds)] += 1

    def relay_ended(self, carried: int, seconds: float) -> None:  # noqa: ARG002 - not kept
        self.circuits += 1
