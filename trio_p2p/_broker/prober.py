"""What a broker tells clients that want to know their NATs: where they are seen. Sans-IO."""

from __future__ import annotations

from .._endpoint import Endpoint
from .._wire.messages import VERSION, Hello, Observed
from .call_quota import CallQuota
from .connection import Connection, Outgoing, Probes, State

PROBE_TIME = 5.0  # seconds for what a client that probes does next, and for calling it back


class Prober:
    """Answers probes, and says who is to be called back.

    Args:
        probes: where else clients may probe; None to say nothing of that, and to call nobody back.
    """

    def __init__(self, probes: Probes | None) -> None:
        self._probes = probes
        self._quota = CallQuota()

    @property
    def calls(self) -> int:
        """How many clients are being called back now."""
        return self._quota.under_way

    def hello(self, connection: Connection, capabilities: tuple[str, ...]) -> Hello:
        """The broker's greeting for a client."""
        port: int | None = None
        endpoints: tuple[Endpoint, ...] = ()
        if self._probes is not None:
            port = self._probes.ports.get(connection.endpoint.address.version)
            endpoints = self._probes.endpoints
        return Hello(
            VERSION, capabilities, connection.challenge, connection.endpoint, port, endpoints
        )

    def probe(self, connection: Connection, now: float) -> Outgoing:
        """Tell a client where it is seen."""
        connection.state = State.PROBED
        connection.deadline = now + PROBE_TIME
        return [(connection, Observed(connection.endpoint))]

    def call_back(self, connection: Connection, now: float) -> bool:
        """Whether a client is to be called back; then :meth:`called_back` has to follow."""
        if self._probes is None or not self._quota.take(connection.endpoint.address, now):
            return False
        connection.state = State.CALLED
        connection.deadline = now + PROBE_TIME
        return True

    def called_back(self) -> None:
        """A client has been called back, or will not be."""
        self._quota.give_back()
