"""What a broker tells clients that want to know their NATs: where they are seen. Sans-IO."""

from __future__ import annotations

from .._addresses import Endpoint
from .._wire.messages import VERSION, Hello, Observed, RefusalCode
from .connection import Connection, Messages, Probes, State
from .limits import BrokerLimits
from .refusals import refuse
from .shares import Windows

PROBE_TIME = 5.0  # seconds for what a client that probes does next, and for calling it back
MAX_CALLS = 64  # at a time
CALLS_PER_WINDOW = 60  # for one network: many may share an address, and each asks once or twice
WINDOW_TIME = 60.0  # seconds
MAX_NETWORKS = 4096  # remembered at a time


class CallQuota:
    """Counts the calls of a broker."""

    def __init__(self) -> None:
        self._under_way = 0
        self._windows = Windows(WINDOW_TIME, MAX_NETWORKS)

    @property
    def under_way(self) -> int:
        """How many calls are made now."""
        return self._under_way

    def take(self, source: bytes, now: float) -> bool:
        """Whether a source may be called now; then :meth:`give_back` has to follow."""
        if self._under_way >= MAX_CALLS:
            return False
        if self._windows.count(source, now) > CALLS_PER_WINDOW:
            return False
        self._under_way += 1
        return True

    def give_back(self) -> None:
        """Count a call that is over."""
        self._under_way -= 1


class Prober:
    """Answers probes, and says who is to be called back.

    Args:
        probes: where else clients may probe; None to say nothing of that, and to call none back.
        limits: what each party may ask for.

    Attributes:
        limits: the argument of this name; may be replaced at any time.
    """

    def __init__(self, probes: Probes | None, limits: BrokerLimits) -> None:
        self._probes = probes
        self.limits: BrokerLimits = limits
        self._probed = Windows(WINDOW_TIME, MAX_NETWORKS)
        self._quota = CallQuota()

    @property
    def calls(self) -> int:
        """How many clients are being called back now."""
        return self._quota.under_way

    def hello(
        self, connection: Connection, capabilities: tuple[str, ...], *, wants_proof: bool
    ) -> Hello:
        """The broker's greeting for a client."""
        port: int | None = None
        endpoints: tuple[Endpoint, ...] = ()
        if self._probes is not None:
            port = self._probes.ports.get(connection.endpoint.address.version)
            endpoints = self._probes.endpoints
        return Hello(
            VERSION,
            capabilities,
            connection.challenge,
            connection.endpoint,
            port,
            endpoints,
            wants_proof=wants_proof or None,
        )

    def probe(self, connection: Connection, now: float) -> Messages:
        """Tell a client where it is seen.

        Raises:
            RefusalError: its source has probed too often.
        """
        source = connection.source
        if self._probed.count(source, now) > self.limits.probes:
            refuse(
                RefusalCode.BUSY,
                f"this broker answers {self.limits.probes} probes of one IP address in "
                f"{WINDOW_TIME:g} seconds: try again later",
                retry_after=self._probed.rest(source, now),
            )
        connection.state = State.PROBED
        connection.deadline = now + PROBE_TIME
        return [(connection, Observed(connection.endpoint))]

    def call_back(self, connection: Connection, now: float) -> bool:
        """Whether a client is to be called back; then :meth:`called_back` has to follow."""
        if self._probes is None or not self._quota.take(connection.source, now):
            return False
        connection.state = State.CALLED
        connection.deadline = now + PROBE_TIME
        return True

    def called_back(self) -> None:
        """A client has been called back, or will not be."""
        self._quota.give_back()
