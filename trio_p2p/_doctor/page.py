"""How ``trio-p2p doctor`` shows what it has found out: for people, and as JSON. Pure."""

from __future__ import annotations

import textwrap
from typing import Any

import attrs

from .._nat.findings import IPv6Findings, RouterOffer, StationKind, Survey
from .._wire.offer import Allocation, Behaviour
from .advice import advise
from .prospects import PEERS, prospect_of

_WIDTH = 78  # columns


@attrs.frozen
class Section:
    """A part of a page for people.

    Attributes:
        title: what stands above it.
        text: lines, or nothing.
        rows: names and what there is to say of each, to be shown below the text.
    """

    title: str
    text: str = ""
    rows: tuple[tuple[str, str], ...] = ()


def sections_of(survey: Survey) -> list[Section]:
    """A page for people."""
    peers = tuple((peer.description, prospect_of(survey, peer)) for peer in PEERS)
    return [
        Section(
            f"This network, as the broker at {survey.broker} sees it",
            _picture(survey),
            tuple(_traits(survey)),
        ),
        Section("Connections to peers", rows=peers),
        Section("What to change", _list(advise(survey) or ["Nothing: it gets no better."])),
    ]


def as_json(survey: Survey) -> dict[str, Any]:
    """Everything that the page shows, as values that JSON can hold."""
    nat, ipv6 = survey.nat, survey.ipv6
    return {
        "broker": str(survey.broker),
        "local": _text(survey.local),
        "reflexive": _text(survey.reflexive),
        "way": [
            {"station": station.kind, "address": _text(station.address)} for station in survey.way
        ],
        "hops": [_text(hop) for hop in survey.hops],
        "layers": survey.layers,
        "firewall_without_nat": survey.is_firewalled,
        "mapping": nat.mapping,
        "filtering": nat.filtering,
        "allocation": nat.allocation,
        "step": nat.step,
        "hairpinning": survey.hairpins,
        "port_mapping": survey.router
        and [
            {
                "protocol": offer.protocol,
                "external": _text(offer.external),
                "failure": offer.failure,
            }
            for offer in survey.router
        ],
        "ipv6": {
            "address": _text(ipv6.address),
            "broker": _text(ipv6.broker),
            "is_reached": ipv6.is_reached,
            "filtering": ipv6.filtering,
        },
        "peers": [{"peer": p.description, "prospect": prospect_of(survey, p)} for p in PEERS],
        "advice": advise(survey),
    }


def _picture(survey: Survey) -> str:
    """The way to the broker, from top to bottom."""
    width = max(len(kind) for kind in StationKind)
    lines: list[str] = []
    for station in survey.way:
        address = _text(station.address) or "its address does not show"
        if station.kind is StationKind.INTERNET:
            address = f"{address}, this host's address there" if station.address else ""
        lines += [f"{station.kind:^{width}}  {address}".rstrip(), f"{'│':^{width}}".rstrip()]
    return "\n".join(f"  {line}" for line in lines[:-1])


def _traits(survey: Survey) -> list[tuple[str, str]]:
    nat = survey.nat
    rows = [
        ("NATs on the way", _layers(survey)),
        ("mapping", _behaviour(nat.mapping)),
        ("filtering", _behaviour(nat.filtering)),
        ("port allocation", _allocation(nat.allocation, nat.step)),
        ("hairpinning", _yes_or_no(survey.hairpins) if survey.is_translated else "no NAT to do it"),
    ]
    if survey.router is None:
        rows.append(("port mapping", "not known"))
    else:
        rows += [(f"port mapping by {each.protocol}", _offer(each)) for each in survey.router]
    return [*rows, ("IPv6", _ipv6(survey.ipv6))]


def _layers(survey: Survey) -> str:
    if survey.is_firewalled:
        return "none, but a firewall"
    return {None: "not known", 0: "none"}.get(survey.layers, str(survey.layers))


def _behaviour(behaviour: Behaviour | None) -> str:
    return "not known" if behaviour is None else str(behaviour)


def _allocation(allocation: Allocation | None, step: int) -> str:
    if allocation is Allocation.SEQUENTIAL:
        return f"{allocation}, in steps of {step}"
    return "not known" if allocation is None else str(allocation)


def _yes_or_no(answer: bool | None) -> str:
    return {None: "not known", True: "yes", False: "no"}[answer]


def _offer(offer: RouterOffer) -> str:
    return f"yes, at {offer.external}" if offer.external is not None else f"no: {offer.failure}"


def _ipv6(ipv6: IPv6Findings) -> str:
    if ipv6.address is None:
        return "no"
    if ipv6.is_reached is None:
        return f"{ipv6.address}, but the broker has none"
    if not ipv6.is_reached:
        return f"{ipv6.address}, but the broker is not reached"
    return f"{ipv6.address}, filtering {_behaviour(ipv6.filtering)}"


def _list(items: list[str]) -> str:
    return "\n".join(
        textwrap.fill(item, _WIDTH, initial_indent="  * ", subsequent_indent="    ")
        for item in items
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
