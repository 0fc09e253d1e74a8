"""Keeps one name registered, over every version of IP by which the broker is reached."""

from __future__ import annotations

import copy
import logging

import trio

from .._control.broker_link import BrokerLink
from .._control.control import Control
from .._control.controls import Controls
from .._control.handover import HandedOverError
from .._errors import (
    BrokerLostError,
    BrokerUnreachableError,
    BusyError,
    P2PError,
    RemoteProtocolError,
    UIDTakenError,
)
from .._net.backoff import Backoff
from .._net.network_changes import Network, current_network
from .._net.nursery import open_background_nursery
from .._stream.owned_connection import LEFT
from .._wire.messages import StreamKind
from .introductions import Introductions

logger = logging.getLogger("trio_p2p.receiver")

MAX_SHORTAGES = 3  # attempts at the first registration when this host lacks something for it
_LOST = (BrokerUnreachableError, BrokerLostError)


class Registration:
    """One name, for as long as :meth:`run` runs.

    Args:
        uid: the name.
        kind: which streams to accept under the name.
        controls: the connections to the broker.
        introductions: what is made of the senders that the broker tells of.

    Attributes:
        scope: cancel it to end the registration.
        failure: why the broker does not want us any more, or None.
        registered: how often the name was registered, not counting what only adds another version
            of IP.
    """

    def __init__(
        self,
        uid: str,
        kind: StreamKind,
        controls: Controls,
        introductions: Introductions,
    ) -> None:
        self.uid = uid
        self.scope: trio.CancelScope = trio.CancelScope()
        self.failure: P2PError | None = None
        self.registered: int = 0
        self._kind = kind
        self._controls = controls
        self._introductions = introductions
        self._tracer = controls.options.tracer
        self._held: set[int] = set()  # the versions of IP by which it is registered now
        self._failed: dict[int, P2PError] = {}  # before it was registered first
        self._given_up: dict[int, P2PError] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._noted: set[type[P2PError]] = set()
        self._is_over = False

    async def wait_registered(self) -> None:
        """Wait for the first registration.

        Raises:
            P2PError: it failed.
            trio.ClosedResourceError: the peer was left.
        """
        while not self.registered:
            if self.failure is not None:
                raise copy.copy(self.failure) from self.failure.__cause__  # one for each caller
            if self._is_over:
                raise trio.ClosedResourceError(LEFT)
            await self._changed.park()

    async def run(self) -> None:
        """Stay registered until cancelled, or until the broker does not want us any more.

        Then :attr:`failure` says why.
        """
        try:
            with self.scope:
                self.failure = await self._keep_all()
        finally:
            self._is_over = True
            self._changed.unpark_all()

    async def _keep_all(self) -> P2PError:
        """Stay registered as long as any version of IP allows; why none does any more."""
        async with open_background_nursery() as nursery:
            for control in self._controls:
                nursery.start_soon(self._keep, control)
            versions = [control.ip_version for control in self._controls]
            while not self.registered:
                if len(self._failed) == len(versions):
                    return _telling([self._failed[version] for version in versions])
                await self._changed.park()
            while len(self._given_up) < len(versions):
                await self._changed.park()
            failure = _telling([self._given_up[version] for version in versions])
            logger.warning("%r is not registered, giving up: %s", self.uid, failure)
            return failure

    async def _keep(self, control: Control) -> None:
        """Keep the name registered by one version of IP."""
        backoff, shortages = Backoff(), 0
        with control.needed():
            while True:
                network = current_network(control.ip_version)
                was_held = False
                try:
                    link = await (control.wait_link() if self.registered else control.use())
                    failure = await self._hold(link, backoff)
                    was_held = True
                except P2PError as error:
                    failure = error
                if isinstance(failure, HandedOverError):
                    continue
                if self.registered and not _is_passing(failure, was_held=was_held):
                    self._given_up[control.ip_version] = failure
                    self._changed.unpark_all()
                    return
                self._note(failure)
                shortages += _is_shortage(failure)
                is_soon_over = _is_of_a_move(failure, network) or (
                    _is_shortage(failure) and shortages < MAX_SHORTAGES
                )
                if not (self.registered or is_soon_over):
                    # The caller decides whether to try again, unless another version of IP works.
                    await self._wait_registered(control.ip_version, failure)
                if control.link is not None or not self.registered:
                    asked = failure.retry_after if isinstance(failure, BusyError) else 0.0
                    await backoff.rest(
                        network, asked=asked
                    )  # else there is nothing until the next connection

    async def _hold(self, link: BrokerLink, backoff: Backoff) -> P2PError:
        """Hold the name over one connection; why that has ended.

        Raises:
            P2PError: it cannot be.
        """
        async with link.registered(self.uid, self._kind, self._controls.instance) as name:
            backoff.works()
            self._begin(link)
            try:
                while True:
                    introducing = await name.next_introduction()
                    self._introductions.start(introducing, link)
            except P2PError as error:
                return error
            finally:
                self._held.discard(link.ip_version)

    def _begin(self, link: BrokerLink) -> None:
        is_news = not self._held
        self._held.add(link.ip_version)
        if is_news:
            self.registered += 1
            self._noted.clear()
            self._tracer.registered(self.uid)
        self._changed.unpark_all()

    async def _wait_registered(self, ip_version: int, failure: P2PError) -> None:
        self._failed[ip_version] = failure
        self._changed.unpark_all()
        while not self.registered:
            await self._changed.park()

    def _note(self, failure: P2PError) -> None:
        """Log why the name is not registered: once for each reason until it is again."""
        if self._held:  # it is, by the other version of IP
            logger.debug("%r is not registered by every version of IP: %s", self.uid, failure)
            return
        level = logging.DEBUG if type(failure) in self._noted else logging.WARNING
        self._noted.add(type(failure))
        if self.registered:
            logger.log(level, "%r is not registered, trying again: %s", self.uid, failure)
            self._tracer.broker_lost(failure)


def _is_of_a_move(error: P2PError, network: Network) -> bool:
    """Whether nothing is wrong but that this host has changed networks meanwhile."""
    return isinstance(error, _LOST) and current_network(*network.ip_versions) != network


def _is_shortage(error: P2PError) -> bool:
    """Whether this host lacks something."""
    return type(error) is P2PError and isinstance(error.__cause__, OSError)


def _is_passing(error: P2PError, *, was_held: bool) -> bool:
    """Whether a name that was registered may soon be so again."""
    if isinstance(error, UIDTakenError):
        # Not for good if it comes in answer to a registration: what holds the name may be a
        # connection of ours that is dying, or an attacker that will be gone.
        return not was_held
    return _is_shortage(error) or isinstance(error, (*_LOST, BusyError, RemoteProtocolError))


def _telling(failures: list[P2PError]) -> P2PError:
    """What tells most of why a name is not registered."""
    for failure in failures:
        if not isinstance(failure, _LOST):
            return failure
    return failures[-1]
