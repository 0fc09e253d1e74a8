"""Keeps a receiver registered."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import trio

from .._broker_client.connection import FAREWELL_TIME
from .._broker_client.resolve import find_broker, ip_versions_of
from .._errors import (
    BrokerLostError,
    BrokerUnreachableError,
    P2PError,
    RemoteProtocolError,
    UIDTakenError,
)
from .._identity.identity import Identity
from .._nat.local_network import LocalNetwork
from .._net.backoff import Backoff
from .._net.network_changes import Network, current_network
from .._net.nursery import open_background_nursery
from .._net.os_errors import explain
from .._wire.messages import INSTANCE_BYTES, Kill, StreamKind
from .introductions import Introductions
from .ipv6_registration import IPv6Registration
from .own_name import OwnName
from .reachability import LocalSide, Reachability

logger = logging.getLogger("trio_p2p.receiver")


MAX_SHORTAGES = 3  # attempts at the first registration when this host lacks something for it

_LOST = (BrokerUnreachableError, BrokerLostError)


class Registration:
    """One UID at one broker, for as long as :meth:`run` runs.

    Args:
        uid: the UID.
        broker: host and port.
        capabilities: what to greet the broker with.
        introductions: what is made of the senders that the broker tells of.
        stream: what senders are to make of a connection.
        identity: ours.
        is_awaited: whether an accepted stream has no path, so that its sender has to find us again.
        port_guessing: whether to take part in guessing ports.

    Attributes:
        scope: cancel it to end the registration.
        failure: why the broker does not want us any more, or None.
        registered: how often the UID was registered.
    """

    def __init__(
        self,
        uid: str,
        broker: tuple[str, int],
        capabilities: Sequence[str],
        introductions: Introductions,
        *,
        stream: StreamKind,
        identity: Identity,
        is_awaited: Callable[[], bool],
        port_guessing: bool = True,
    ) -> None:
        self.uid = uid
        self.scope: trio.CancelScope = trio.CancelScope()
        self.failure: P2PError | None = None
        self.registered: int = 0
        self._broker = broker
        self._capabilities = capabilities
        self._introductions = introductions
        self._local_network = LocalNetwork()
        self._port_guessing = port_guessing
        self._is_awaited = is_awaited
        self._backoff = Backoff()
        self._is_registered = False
        self._noted: set[type[P2PError]] = set()
        self._shortages = 0
        self._name = OwnName(uid, stream, secrets.token_bytes(INSTANCE_BYTES), identity)
        self._ipv6 = IPv6Registration(broker, capabilities, self._name, introductions)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stay registered until cancelled, or until the broker does not want us any more.

        Args:
            task_status: started with the first registration.

        Raises:
            P2PError: the first registration failed.
        """
        with self.scope:
            async with open_background_nursery() as nursery:
                while True:
                    network = current_network()
                    try:
                        await self._register(nursery, task_status)
                    except OSError as error:
                        failure = P2PError(f"{self.uid!r} cannot be registered: {explain(error)}")
                        failure.__cause__ = error
                        self._shortages += 1
                        is_passing = bool(self.registered) or self._shortages < MAX_SHORTAGES
                    except P2PError as error:
                        failure, is_passing = error, self._is_passing(error, network)
                    if not is_passing:
                        self._fail(failure)
                        return
                    self._note(failure)
                    await self._backoff.rest(network, is_awaited=self._is_awaited)

    def _is_passing(self, error: P2PError, network: Network) -> bool:
        """Whether the registration may succeed soon although it has failed."""
        if not self.registered:
            # The caller decides whether to try again, unless all there was to it is a move.
            return isinstance(error, _LOST) and current_network() != network
        if isinstance(error, UIDTakenError):
            # Not for good if it comes in answer to a registration: what holds the name may be a
            # connection of ours that is dying, or an attacker that will be gone.
            return not self._is_registered
        return isinstance(error, (*_LOST, RemoteProtocolError))

    def _fail(self, failure: P2PError) -> None:
        if not self.registered:
            raise failure
        logger.warning("%r is not registered, giving up: %s", self.uid, failure)
        self.failure = failure

    def _note(self, failure: P2PError) -> None:
        """Log why the UID is not registered: once for each reason until it is again."""
        is_news = type(failure) not in self._noted
        self._noted.add(type(failure))
        level = logging.WARNING if is_news else logging.DEBUG
        logger.log(level, "%r is not registered, trying again: %s", self.uid, failure)

    async def _register(
        self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]
    ) -> NoReturn:
        """Register once; returns never, but raises when the registration ends.

        Args:
            nursery: owns what may outlive the registration.
            task_status: started with the first one.
        """
        self._is_registered = False
        async with (
            await find_broker(self._broker, self._capabilities) as connection,
            open_background_nursery() as background,
        ):
            background.start_soon(connection.keep_alive)
            self._local_network = self._local_network.here()
            # At once: the first introduction may come as soon as we are registered.
            background.start_soon(self._local_network.learn_hops, connection)
            has_both = connection.remote.address.version == 4 and 6 in ip_versions_of(
                self._broker[0]
            )
            if not has_both:  # or this connection would take the other one's place
                self._ipv6.stop()
            endpoint = await self._name.register(connection)
            self._is_registered = True
            logger.debug("%r is registered; the broker sees us at %s", self.uid, endpoint)
            reachability = Reachability(
                connection, endpoint, self._local_network, port_guessing=self._port_guessing
            )
            try:
                shared_port = self._introductions.start_shared_port(background, connection)
                # Its end may take a second, and is not to be waited for before we register again.
                nursery.start_soon(reachability.run)
                if has_both:
                    self._ipv6.start(nursery)
                self._begin()
                if self.registered == 1:
                    task_status.started()
                while True:
                    message = await self._name.receive(connection)
                    local_side = LocalSide(
                        connection.remote, shared_port, reachability.side, self._local_network
                    )
                    self._introductions.start(message, local_side, connection, nursery)
            finally:
                reachability.scope.cancel(reason="the registration has ended")
                with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                    await connection.send(Kill())

    def _begin(self) -> None:
        self.registered += 1
        self._backoff.works()
        self._noted.clear()
