"""What a broker tells of its work: to its log, and to whatever else observes it. Pure."""

from __future__ import annotations

from .._addresses import Endpoint
from .._attempt import Technique
from .._wire.messages import Refused, Report


class Observer:
    """Told of what happens at a broker. Each method does nothing; override those of interest.

    The methods are called synchronously, and may not raise.
    """

    def registered(self, uid: str, endpoint: Endpoint) -> None:
        """A receiver has registered, by its first version of IP."""

    def unregistered(self, uid: str) -> None:
        """A receiver is not registered any more."""

    def introduced(self, technique: Technique) -> None:
        """A sender's request was passed on to a receiver."""

    def refused(self, endpoint: Endpoint, refusal: Refused) -> None:
        """A client was refused something."""

    def reported(self, report: Report) -> None:
        """A sender has told what came of its search for a direct connection."""

    def timed_out(self, endpoint: Endpoint, ending: str, standing: str) -> None:
        """A client was silent for too long, did not read, or had to give way.

        Args:
            endpoint: the client's.
            ending: what it has done.
            standing: what it was.
        """

    def believed(self, named: Endpoint, local: Endpoint) -> None:
        """A registration was taken that is signed for an endpoint not known to be the broker's.

        Args:
            named: the endpoint.
            local: where the receiver has come to.
        """

    def relay_ended(self, carried: int, seconds: float) -> None:
        """A circuit has ended.

        Args:
            carried: how many bytes it has carried, both directions together.
            seconds: how long it was open.
        """


class Observers(Observer):
    """Tells several observers the same.

    Args:
        observers: whom to tell.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def registered(self, uid: str, endpoint: Endpoint) -> None:
        for each in self._observers:
            each.registered(uid, endpoint)

    def unregistered(self, uid: str) -> None:
        for each in self._observers:
            each.unregistered(uid)

    def introduced(self, technique: Technique) -> None:
        for each in self._observers:
            each.introduced(technique)

    def refused(self, endpoint: Endpoint, refusal: Refused) -> None:
        for each in self._observers:
            each.refused(endpoint, refusal)

    def reported(self, report: Report) -> None:
        for each in self._observers:
            each.reported(report)

    def timed_out(self, endpoint: Endpoint, ending: str, standing: str) -> None:
        for each in self._observers:
            each.timed_out(endpoint, ending, standing)

    def believed(self, named: Endpoint, local: Endpoint) -> None:
        for each in self._observers:
            each.believed(named, local)

    def relay_ended(self, carried: int, seconds: float) -> None:
        for each in self._observers:
            each.relay_ended(carried, seconds)
