"""What to change in a network, so that more connections are direct. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .._addresses import Scope, is_public, scope_of
from .._nat.findings import Survey
from .._wire.offer import Behaviour


def advise(survey: Survey) -> list[str]:
    """Sentences for the people who run this network, or the broker; none if all is well."""
    return [*_about_the_broker(survey), *_about_the_router(survey), *_about_ipv6(survey)]


def _about_the_broker(survey: Survey) -> Iterator[str]:
    seen_at = survey.reflexive
    if seen_at is not None and survey.is_translated and scope_of(seen_at) is not Scope.INTERNET:
        yield (
            f"The broker sees this host at {seen_at}, an address of a private network that this "
            "host is not in: a proxy or a NAT stands before the broker, and hides where its "
            "clients are. Peers are not connected directly by it: let clients reach the broker "
            "itself, or have the proxy pass their addresses on."
        )
    if survey.nat.mapping is None:
        yield (
            "What the NAT does cannot be told, as the broker answers on one port only: run it with "
            "--probe-port, and let the port through its firewall."
        )
    elif survey.nat.filtering is None:
        yield (
            "Whom the NAT lets in cannot be told, as the broker has not called back: try again in "
            "a minute."
        )


def _about_the_router(survey: Survey) -> Iterator[str]:
    if not survey.is_translated or survey.nat.filtering is Behaviour.ENDPOINT_INDEPENDENT:
        return
    claims = [offer.external for offer in survey.router or () if offer.external is not None]
    if claims and not is_public(claims[0]):
        yield (
            f"The router says that its own address is {claims[0]}, which is not one of the "
            "internet's: there is another NAT behind it, and ports that it maps are not reached "
            "from there. Ask the provider for an address of your own, or for IPv6."
        )
    elif claims and claims[0] != survey.reflexive:
        yield (
            f"The router says that its address is {claims[0]}, but others see {survey.reflexive}: "
            "connections leave by another way than mapped ports come in."
        )
    elif survey.router is not None and not claims:
        need = (
            "Only so is this host reached by peers behind NATs like this one."
            if survey.nat.is_symmetric
            else "Then peers behind any NAT reach it, and no port has to be guessed."
        )
        yield f"Switch on PCP, NAT-PMP or UPnP in the router's settings. {need}"


def _about_ipv6(survey: Survey) -> Iterator[str]:
    ipv6 = survey.ipv6
    if ipv6.address is None:
        yield (
            "Switch on IPv6, in the router's settings or at the provider: between peers that have "
            "it there is no NAT."
        )
    elif ipv6.broker is None:
        yield "This host has IPv6, but the broker has not: give it some, so that peers meet there."
    elif not ipv6.is_reached:
        yield (
            f"This host has the IPv6 address {ipv6.address}, but does not reach the broker by it: "
            "look at the router's IPv6 settings."
        )
    elif ipv6.filtering not in (None, Behaviour.ENDPOINT_INDEPENDENT):
        yield (
            "IPv6 works, through a firewall that lets no unasked connection in. Peers get through "
            "it even so; if some do not, open it for this program's port."
        )
