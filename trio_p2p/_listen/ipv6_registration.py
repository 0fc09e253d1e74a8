"""Lets senders find a receiver over IPv6, too, that is registered over IPv4.

No connection has to stay for that: an IPv6 host has its addresses for itself, so nothing on the
way has to remember which one belongs to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from .._broker_client.connection import unexpected
from .._broker_client.resolve import find_broker
from .._errors import P2PError
from .._identity.identity import Identity
from .._nat.local_network import LocalNetwork
from .._net.barrier import Barrier
from .._net.network_changes import current_network, wait_network_changed
from .._net.nursery import open_background_nursery
from .._traversal.shared_port import start_shared_port
from .._traversal.strategy import Side
from .._wire.messages import Registered, RegisterIPv6
from .._wire.offer import NO_OFFER
from .reachability import LocalSide

RENEWAL_TIME = 1800.0  # seconds; the broker forgets after twice as long
RETRY_TIME = 60.0  # seconds after a failure

logger = logging.getLogger("trio_p2p.receiver")


class IPv6Registration:
    """Keeps the broker told of where a receiver is over IPv6.

    Args:
        uid: the receiver's.
        identity: that which it is registered with.
        on_stranger: called when a connection was closed whose other side has not proven itself.

    Attributes:
        local_side: what the broker was told last; None before.
    """

    def __init__(self, uid: str, identity: Identity, *, on_stranger: Callable[[], object]) -> None:
        self.local_side: LocalSide | None = None
        self._uid = uid
        self._identity = identity
        self._on_stranger = on_stranger
        self._local_network = LocalNetwork(6)

    async def run(self, broker: tuple[str, int]) -> None:
        """Tell it, and again before it forgets or when the network changes, until cancelled.

        Args:
            broker: its host and port.
        """
        while True:
            with Barrier(logger, f"keeping {self._uid!r} found over IPv6"):
                async with trio.open_nursery() as nursery:
                    await self._keep(broker, nursery)
            await trio.sleep(RETRY_TIME)

    async def _keep(self, broker: tuple[str, int], nursery: trio.Nursery) -> None:
        while True:
            pause, network = RENEWAL_TIME, current_network(6)
            try:
                await nursery.start(self._stay, broker)
            except (P2PError, OSError) as error:
                logger.debug("%r is not found over IPv6: %s", self._uid, error)
                pause = RETRY_TIME
            with trio.move_on_after(pause):
                await wait_network_changed(network)

    async def _stay(self, broker: tuple[str, int], *, task_status: trio.TaskStatus[None]) -> None:
        """Be found at a fresh port, as long as the broker remembers it."""
        async with open_background_nursery() as nursery:
            async with await find_broker(broker, (), ip_version=6) as connection:
                connection.uid = self._uid
                challenge = await connection.receive_challenge()
                await self._local_network.learn_hops(connection)
                at, me = connection.remote, self._identity
                signature = me.sign_registration(challenge, at, self._uid)
                await connection.send(RegisterIPv6(self._uid, at, me.certificate, signature))
                reply = await connection.receive_answer()
                if not isinstance(reply, Registered):
                    raise unexpected(reply)
                # Before the connection is closed: the port must stay ours.
                shared_port = start_shared_port(
                    nursery, connection.local, on_stranger=self._on_stranger
                )
            logger.debug(
                "%r is registered over IPv6, and seen by the broker at %s",
                self._uid,
                reply.endpoint,
            )
            side = Side(reply.endpoint, NO_OFFER)
            self.local_side = LocalSide(connection.remote, shared_port, side, self._local_network)
            task_status.started()
            await trio.sleep(2 * RENEWAL_TIME)
