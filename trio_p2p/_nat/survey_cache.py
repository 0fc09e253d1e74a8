"""Remembers what the NATs before this host do, for each network that it has been in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import trio

from .._addresses import Endpoint, IPAddress
from .._net.gateway import find_default_gateway
from .._wire.offer import Nat
from .survey import survey_nat

MAX_NETWORKS = 8  # remembered at a time
# Seconds.
LIFETIME = 3600.0  # a router may be replaced, or set up otherwise
PARTIAL_LIFETIME = 30.0  # if something did not answer: it may do so the next time

_Network: TypeAlias = tuple[object, ...]


def is_complete(nat: Nat, *, asks_filtering: bool) -> bool:
    """Whether a survey has found out everything.

    Args:
        nat: what it has found out.
        asks_filtering: whether it was to find out which hosts are let in, too.
    """
    filtering = (nat.filtering,) if asks_filtering else ()
    return None not in (nat.mapping, nat.allocation, *filtering)


class SurveyCache:
    """What surveys have found, by the network.

    A network is known by this host's address in it, by the address that the internet sees, by the
    default gateway, and by the broker that tells all that. Homes are alike in all but one of them.
    """

    def __init__(self) -> None:
        self._known: dict[_Network, tuple[Nat, float]] = {}  # what, and until when; oldest first
        self._surveying = trio.Lock()

    async def nat(
        self,
        broker: Endpoint,
        probes: Sequence[Endpoint],
        *,
        local: IPAddress,
        reflexive: IPAddress,
        asks_filtering: bool = True,
    ) -> Nat:
        """What the NATs do; as :func:`survey_nat`, but at once if it is known.

        A caller that asks while it is being found out waits for that. What was not found out at
        all is not remembered, and a part only for a short time.

        Args:
            broker: as for :func:`survey_nat`.
            probes: as for :func:`survey_nat`.
            local: this host's address towards the broker.
            reflexive: its address as the broker sees it.
            asks_filtering: as for :func:`survey_nat`.
        """
        network = (broker.address, local, reflexive, find_default_gateway())
        async with self._surveying:
            nat, expires_at = self._known.get(network, (Nat(), 0.0))
            is_enough = nat.filtering is not None or not asks_filtering
            if trio.current_time() < expires_at and is_enough:
                return nat
            nat = await survey_nat(broker, probes, asks_filtering=asks_filtering)
            self._known.pop(network, None)
            if nat.is_known:
                lifetime = (
                    LIFETIME
                    if is_complete(nat, asks_filtering=asks_filtering)
                    else PARTIAL_LIFETIME
                )
                self._known[network] = nat, trio.current_time() + lifetime
            if len(self._known) > MAX_NETWORKS:
                del self._known[next(iter(self._known))]
        return nat
