"""Has clients give way to others when there are no descriptors left."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import trio

from .._net.log_limit import RepeatedLine
from .._net.system import System
from .._wire.messages import RefusalCode
from .arrivals import Arrivals
from .connection import Connection, State
from .descriptors import Descriptors
from .link import Link
from .parties import network_of
from .refusals import refuse

MAX_CUT = 16  # clients that give way at once
# Seconds.
CUT_PAUSE = 0.1  # until others give way again
RETRY_TIME = 5.0  # until a client that was turned away may come again

logger = logging.getLogger("trio_p2p.broker")


class Room:
    """What a broker has for connections.

    Args:
        system: whose descriptors they take.
        links: the links of clients that have arrived.
        arrivals: the clients that have not arrived yet.

    Attributes:
        descriptors: counts all of them.
    """

    def __init__(
        self, system: System, links: Mapping[Connection, Link], arrivals: Arrivals
    ) -> None:
        self.descriptors: Descriptors = Descriptors(system)
        self._links = links
        self._arrivals = arrivals
        self._is_full = RepeatedLine(logger, logging.WARNING)
        self._cut_at = -math.inf

    def check(self) -> None:
        """Have others give way if there are no descriptors left but those in reserve.

        Raises:
            RefusalError: too few do.
        """
        if not self.descriptors.are_spent:
            return
        self._is_full.say(
            trio.current_time(),
            "the broker is full: %d clients are connected. Allow this process more open files",
            self.descriptors.in_use,
        )
        self.make()
        if self.descriptors.in_use > self.descriptors.most + MAX_CUT:
            refuse(
                RefusalCode.BUSY,
                "this broker serves as many clients as it can: try again later",
                retry_after=RETRY_TIME,
            )

    def make(self) -> None:
        """Cut some clients of the source that has most of those that are not registered."""
        now = trio.current_time()
        if now < self._cut_at + CUT_PAUSE:  # to look at all links costs
            return
        self._cut_at = now
        links: dict[bytes, list[Link]] = {}  # each source's oldest first
        for connection, link in self._links.items():
            if connection.registration is None and connection.state is not State.RELAYED:
                links.setdefault(connection.source, []).append(link)
        silent: dict[bytes, list[trio.CancelScope]] = {}
        for scope, endpoint in self._arrivals.waiting.items():
            silent.setdefault(network_of(endpoint.address), []).append(scope)
        reason = "gives way to others, as there are no descriptors left"
        for scope in max(silent.values(), key=len)[:MAX_CUT] if silent else ():
            scope.cancel(reason=reason)
        for link in max(links.values(), key=len)[:MAX_CUT] if links else ():
            link.cut(reason)
