"""Finds out all that there is to say about the network that this host is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import attrs
import trio

from .._addresses import Endpoint
from .._broker_client.connection import BrokerConnection
from .._broker_client.resolve import connect_to_broker
from .._errors import BrokerUnreachableError, P2PError
from .._net.gateway import local_address_towards
from .._net.routes import SOMEWHERE_IPV6
from .._portmap.router_report import ProtocolReport, report_on_router
from .findings import IPv6Findings, RouterOffer, Survey
from .hairpin import is_hairpinning
from .probe import near_hops
from .survey import Sightings

CONNECT_TIME = 10.0  # seconds until a broker that does not answer is given up
# Seconds until a router that does not answer is given up. UPnP takes longest to find none.
ROUTER_TIME = 15.0


async def survey_network(broker: Sequence[Endpoint]) -> Survey:
    """Find out everything, within half a minute.

    Args:
        broker: the broker's endpoints, as :func:`resolve_broker` gives them.

    Raises:
        P2PError: none of them answers, or not as it should.

    What does not answer otherwise is missing in the result. If cancelled, nothing is left of it.
    """
    surveyor = await _Surveyor.meet(broker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(surveyor.look)
        nursery.start_soon(surveyor.look_over_ipv6, broker)
        nursery.start_soon(surveyor.ask_router)
    return surveyor.survey


class _Surveyor:
    """What was found out so far.

    Args:
        survey: what the broker's greeting has told.
        probes: where else it answers.
    """

    def __init__(self, survey: Survey, probes: tuple[Endpoint, ...]) -> None:
        self.survey = survey
        self._probes = probes

    @classmethod
    async def meet(cls, broker: Sequence[Endpoint]) -> Self:
        """Begin with the broker's greeting.

        Raises:
            P2PError: there is none.
        """
        async with await _greeted(broker) as connection:
            reflexive = None if connection.observed is None else connection.observed.address
            survey = Survey(connection.remote, connection.local.address, reflexive)
            return cls(survey, connection.probes)

    async def look(self) -> None:
        """Look at the way to the broker; the samples first, as a NAT may count what else leaves."""
        sightings = Sightings()
        await sightings.look(self.survey.broker, self._probes)
        self._note(nat=sightings.nat)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._learn_hops)
            if self.survey.is_translated:
                nursery.start_soon(self._learn_hairpinning)

    def _note(self, **findings: Any) -> None:
        self.survey = attrs.evolve(self.survey, **findings)

    async def _learn_hops(self) -> None:
        self._note(hops=tuple(await near_hops(self.survey.broker)))

    async def _learn_hairpinning(self) -> None:
        self._note(hairpins=await is_hairpinning(self.survey.broker))

    async def look_over_ipv6(self, broker: Sequence[Endpoint]) -> None:
        """Look whether IPv6 leads to the internet, to the broker, and back."""
        try:
            address = local_address_towards(SOMEWHERE_IPV6)
        except OSError:  # no route
            return
        self._note(ipv6=IPv6Findings(address))
        remote = next((each for each in broker if each.address.version == 6), None)
        if remote is None:
            return
        self._note(ipv6=IPv6Findings(address, remote, is_reached=False))
        try:
            async with await _greeted([remote]) as connection:
                probes = connection.probes
        except P2PError:
            return
        sightings = Sightings()
        await sightings.look(remote, probes)
        self._note(ipv6=IPv6Findings(address, remote, True, sightings.nat.filtering))

    async def ask_router(self) -> None:
        """Ask the router what it offers."""
        with trio.move_on_after(ROUTER_TIME):
            try:
                reports = await report_on_router()
            except OSError:
                return
            self._note(router=tuple(map(_offer_of, reports)))


async def _greeted(broker: Sequence[Endpoint]) -> BrokerConnection:
    """A connection on which the broker has said what it sees, and where else it answers.

    Raises:
        P2PError: there is none.
    """
    with trio.move_on_after(CONNECT_TIME):
        connection = await connect_to_broker(broker, ())
        try:
            await connection.receive_challenge()
        except BaseException:
            await connection.aclose()
            raise
        return connection
    raise BrokerUnreachableError(
        f"no broker answers at {' or '.join(map(str, broker))} within {CONNECT_TIME:g} seconds: "
        "check its address, and that trio-p2p-broker runs there"
    )


def _offer_of(report: ProtocolReport) -> RouterOffer:
    failure = None if report.failure is None else str(report.failure.outcome)
    return RouterOffer(str(report.protocol), report.external_address, failure)
