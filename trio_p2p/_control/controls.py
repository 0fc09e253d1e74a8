"""The connections to the broker of one peer: one for each version of IP that may lead there."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress

import trio

from .._broker_client.credentials import Credentials
from .._broker_client.finder import BrokerFinder
from .._broker_client.place import BrokerPlace
from .._broker_client.tls import BrokerTLS
from .._errors import BrokerLostError
from .._nat.survey_cache import SurveyCache
from .._options import PeerOptions
from .._stream.open_connections import OpenConnections
from .._wire.messages import INSTANCE_BYTES, KeepAlive
from .control import Control
from .guesses import Guesses
from .reports import Reports
from .watches import Registrations

MIN_KEEPALIVE_TIME = 1.0  # seconds between two keepalives that a lost path is the reason for


class Controls:
    """The connections to the broker by all versions of IP by which it may be reached.

    Args:
        options: the peer's.
        connections: the connections to other peers, which own the tasks.

    Attributes:
        options, connections: the arguments of these names.
        instance: what tells this program from others of the same identity.
        broker: finds it.
        reports: limits how often the broker is told what came of searches.
        guesses: limits how often ports are guessed, under all names together.
    """

    def __init__(self, options: PeerOptions, connections: OpenConnections) -> None:
        self.options = options
        self.connections = connections
        self.instance: bytes = secrets.token_bytes(INSTANCE_BYTES)
        self.broker: BrokerFinder = BrokerFinder(
            options.brokers, Credentials(options.identity, options.token), self._tls_for
        )
        self.guesses: Guesses = Guesses()
        self.reports: Reports = Reports()
        self._kept_alive_until = -math.inf
        surveys = SurveyCache()
        self._controls = [
            Control(self.broker, ip_version, options, connections, surveys)
            for ip_version in self.broker.ip_versions
        ]
        for control in self._controls:
            control.others = [other for other in self._controls if other is not control]

    def _tls_for(self, place: BrokerPlace) -> BrokerTLS | None:
        return BrokerTLS(place, self.connections.nursery) if place.is_encrypted else None

    def __iter__(self) -> Iterator[Control]:
        """Each connection, that over IPv6 first."""
        return iter(self._controls)

    def watching(self, uid: str) -> AbstractContextManager[Registrations]:
        """Be told of the registrations of a UID while a block lasts."""
        alive = (control for control in self._controls if control.link is not None)
        return next(alive, self._controls[-1]).watching(uid)

    async def keep_alive(self) -> None:
        """Have NATs map the connections again if they have forgotten them; not too often."""
        now = trio.current_time()
        if now < self._kept_alive_until:
            return
        self._kept_alive_until = now + MIN_KEEPALIVE_TIME
        for link in [control.link for control in self._controls]:
            if link is not None:
                with suppress(BrokerLostError):  # the task that receives is told
                    await link.send(KeepAlive())

    async def wait_found_again(self) -> None:
        """Wait until the broker is connected to again; for ever if it is connected to now."""
        if any(control.link is not None for control in self._controls):
            await trio.sleep_forever()

        async def wait(control: Control) -> None:
            await control.wait_link()
            nursery.cancel_scope.cancel(reason="the broker is there again")

        async with trio.open_nursery() as nursery:
            for control in self._controls:
                nursery.start_soon(wait, control)

    @property
    def strangers(self) -> int:
        """How many connections were closed whose other side has not proven itself."""
        return sum(control.strangers.count for control in self._controls)
