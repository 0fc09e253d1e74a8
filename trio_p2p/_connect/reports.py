"""Tells the broker what came of a search for a direct connection, without saying whom it was for.

A broker sees introductions, and not what comes of them. With this its operator learns how many
peers find a direct way, and between which kinds of NAT they do not.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from .._attempt import Technique
from .._control.broker_link import BrokerLink
from .._control.controls import Controls
from .._errors import BrokerLostError
from .._traversal.introduction import Introduction
from .._wire.fields import MAX_DURATION
from .._wire.messages import Report
from .._wire.offer import Behaviour


class Reporter:
    """What there is to report of one search."""

    def __init__(self) -> None:
        self._began_at = trio.current_time()
        self._is_introduced = False
        self._mapping: Behaviour | None = None
        self._peer_mapping: Behaviour | None = None

    def introduced(self, link: BrokerLink, introduction: Introduction) -> None:
        """Note that the broker has introduced the peers."""
        self._is_introduced = True
        self._mapping = link.local_network.nat.mapping
        self._peer_mapping = introduction.peer.nat.mapping

    def end(self, controls: Controls, technique: Technique | None) -> None:
        """Report what came of the search, unless the peers were not even introduced.

        Args:
            controls: the connections to the broker; nothing is reported if none is there.
            technique: by which the connection was made; None if there is none.
        """
        if not self._is_introduced:
            return
        link = next((each.link for each in controls if each.link is not None), None)
        now = trio.current_time()
        if link is None or not controls.reports.take(now):
            return
        duration = min(round(1000 * (now - self._began_at)), MAX_DURATION)
        report = Report(duration, technique, self._mapping, self._peer_mapping)
        controls.connections.nursery.start_soon(_send, link, report)


async def _send(link: BrokerLink, report: Report) -> None:
    with suppress(BrokerLostError):  # the task that receives is told
        await link.send(report)
