"""Keeps a receiver registered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import trio

from .._broker_client.connection import FAREWELL_TIME, BrokerConnection, unexpected
from .._broker_client.resolve import find_broker, ip_versions_of
from .._errors import (
    BrokerLostError,
    BrokerUnreachableError,
    P2PError,
    RemoteProtocolError,
)
from .._identity.identity import Identity
from .._nat.local_network import LocalNetwork
from .._net.backoff import Backoff
from .._net.network_changes import current_network
from .._net.nursery import open_background_nursery
from .._traversal.shared_port import SharedPort
from .._wire.messages import (
    Kill,
    Register,
    Registered,
)
from .introductions import Introductions, ip_version_of
from .ipv6_registration import IPv6Registration
from .reachability import LocalSide, Reachability

logger = logging.getLogger("trio_p2p.receiver")


# These may be over soon; all other errors are for good.
_PASSING_ERRORS = (BrokerUnreachableError, BrokerLostError, RemoteProtocolError, OSError)


class Registration:
    """One UID at one broker, for as long as :meth:`run` runs.

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
        identity: Identity,
        port_guessing: bool = True,
    ) -> None:
        self.uid = uid
        self.scope: trio.CancelScope = trio.CancelScope()
        self.failure: P2PError | None = None
        self.registered: int = 0
        self._broker = broker
        self._identity = identity
        self._capabilities = capabilities
        self._introductions = introductions
        self._local_network = LocalNetwork()
        self._port_guessing = port_guessing
        self._reachability: Reachability
        self._ipv6 = IPv6Registration(uid, identity, on_stranger=introductions.note_stranger)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stay registered until cancelled, or until the broker does not want us any more.

        Raises:
            P2PError: the first registration failed.
        """
        with self.scope:
            async with open_background_nursery() as nursery:
                backoff = Backoff()
                while True:
                    before, network = self.registered, current_network()
                    try:
                        await self._register(nursery, task_status)
                    except _PASSING_ERRORS as error:
                        if not self.registered:
                            raise
                        logger.warning("%r is not registered, trying again: %s", self.uid, error)
                    except P2PError as error:
                        if not self.registered:
                            raise
                        logger.warning("%r is not registered, giving up: %s", self.uid, error)
                        self.failure = error
                        return
                    if self.registered > before:
                        backoff.reset()
                    await backoff.rest(network)

    async def _register(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        """Register once; returns never, but raises when the registration ends.

        Args:
            nursery: owns what may outlive the registration.
            task_status: started with the first one.
        """
        async with (
            await find_broker(self._broker, self._capabilities) as connection,
            open_background_nursery() as background,
        ):
            background.start_soon(connection.keep_alive)
            self._local_network = self._local_network.here()
            # At once: the first introduction may come as soon as we are registered.
            background.start_soon(self._local_network.learn_hops, connection)
            connection.uid = self.uid
            challenge = await connection.receive_challenge()
            broker, me = connection.remote, self._identity
            signature = me.sign_registration(challenge, broker, self.uid)
            await connection.send(Register(self.uid, broker, me.certificate, signature))
            reply = await connection.receive()
            if not isinstance(reply, Registered):
                raise unexpected(reply)
            logger.debug("%r is registered, and seen by the broker at %s", self.uid, reply.endpoint)
            reachability = self._reachability = Reachability(
                connection, reply.endpoint, self._local_network, port_guessing=self._port_guessing
            )
            try:
                shared_port = self._introductions.start_shared_port(background, connection)
                # Its end may take a second, and is not to be waited for before we register again.
                nursery.start_soon(reachability.run)
                if connection.remote.address.version == 4 and 6 in ip_versions_of(self._broker[0]):
                    background.start_soon(self._ipv6.run, self._broker)
                self.registered += 1
                if self.registered == 1:
                    task_status.started()
                while True:
                    message = await connection.receive()
                    version = ip_version_of(message) or connection.remote.address.version
                    local_side = self._local_side(version, connection, shared_port)
                    self._introductions.start(message, local_side, connection.round_trip, nursery)
            finally:
                reachability.scope.cancel(reason="the registration has ended")
                with trio.move_on_after(FAREWELL_TIME, shield=True), suppress(BrokerLostError):
                    await connection.send(Kill())

    def _local_side(
        self, ip_version: int, connection: BrokerConnection, shared_port: SharedPort
    ) -> LocalSide:
        is_other = ip_version != connection.remote.address.version
        if is_other and self._ipv6.local_side is not None:
            return self._ipv6.local_side
        side = self._reachability.side
        return LocalSide(connection.remote, shared_port, side, self._local_network)
