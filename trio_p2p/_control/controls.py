"""The connections to the broker of one peer: one for each version of IP that may lead there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager

from .._broker_client.resolve import BrokerFinder, ip_versions_of
from .._nat.survey_cache import SurveyCache
from .._options import PeerOptions
from .._stream.open_streams import OpenStreams
from .._wire.messages import INSTANCE_BYTES
from .control import Control
from .watches import Registrations


class Controls:
    """The connections to the broker by all versions of IP by which it may be reached.

    Args:
        options: the peer's.
        streams: the peer's, which own the tasks.

    Attributes:
        options, streams: the same.
        instance: what tells this program from others of the same identity.
        broker: finds it.
    """

    def __init__(self, options: PeerOptions, streams: OpenStreams) -> None:
        self.options = options
        self.streams = streams
        self.instance: bytes = secrets.token_bytes(INSTANCE_BYTES)
        self.broker: BrokerFinder = BrokerFinder(*options.broker)
        surveys = SurveyCache()
        self._controls = [
            Control(self.broker, ip_version, options, streams, surveys)
            for ip_version in ip_versions_of(self.broker.host)
        ]
        for control in self._controls:
            control.others = [other for other in self._controls if other is not control]

    def __iter__(self) -> Iterator[Control]:
        """Each connection, that over IPv6 first."""
        return iter(self._controls)

    def watching(self, uid: str) -> AbstractContextManager[Registrations]:
        """Be told of the registrations of a UID while a block lasts."""
        alive = (control for control in self._controls if control.link is not None)
        return next(alive, self._controls[-1]).watching(uid)

    @property
    def strangers(self) -> int:
        """How many connections were closed whose other side has not proven itself."""
        return sum(control.strangers for control in self._controls)
