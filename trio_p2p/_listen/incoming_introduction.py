"""One introduction to a receiver: a sender that the broker has told of."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import attrs
import trio

from .._addresses import site_of
from .._control.broker_link import BrokerLink
from .._control.registered_name import Introducing
from .._errors import BrokerLostError
from .._net.attempt_log import AttemptLog
from .._peer_connection import PeerConnection
from .._wire.messages import ConnectionRequest, Decline, RelayRequest, SenderEndpoint
from .puncher import Puncher
from .slots import Holder

logger = logging.getLogger("trio_p2p.receiver")

RETRY_TIME = 1.0  # seconds after which a sender that was declined may try again


@attrs.frozen(eq=False)
class IncomingIntroduction:
    """A sender, and the connection to the broker that the broker has told of it over.

    Attributes:
        message: what the broker says of the sender.
        link: the connection to the broker.
        attempts: where what is attempted is noted.
        scope: ends what is done for the sender.
        connecting: ends that as long as it has led to no connection.
    """

    message: Introducing
    link: BrokerLink
    attempts: AttemptLog = attrs.field(factory=partial(AttemptLog, logger))
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    connecting: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def is_relayed(self) -> bool:
        """Whether the sender asks for the relay."""
        return isinstance(self.message, RelayRequest)

    @property
    def holder(self) -> Holder:
        """On whose behalf the broker introduces, as far as the message says."""
        match self.message:
            case SenderEndpoint(endpoint=endpoint, certificate=certificate):
                return Holder(site_of(endpoint.address), certificate)
            case ConnectionRequest(origin=origin):
                return Holder(origin, None)
            case RelayRequest(origin=origin, certificate=certificate):
                return Holder(origin, certificate)

    async def connect(self, puncher: Puncher) -> PeerConnection | None:
        """Connect to the sender, in the way that it has asked for.

        Args:
            puncher: connects directly.

        Returns:
            The connection; None if another introduction of the same search counts instead, or
            :attr:`connecting` was cancelled.

        Raises:
            P2PError: there is no connection.
            OSError: this host lacks something.

        If cancelled, everything that was under way is closed.
        """
        with self.connecting:
            match self.message:
                case SenderEndpoint() as message:
                    return await puncher.connect_fast(message, self.link, self.attempts)
                case ConnectionRequest() as message:
                    return await puncher.connect_classic(
                        message, self.link.local_side, self.attempts
                    )
                case RelayRequest() as message:
                    return await puncher.join_relay(message, self.link)
        return None

    def decline_at_port(self) -> None:
        """Answer at once that there is no room if the sender comes to the port."""
        if isinstance(self.message, SenderEndpoint):
            self.link.shared_port.decline(self.message.nonce)

    async def tell_declined(self) -> None:
        """Have the broker tell the sender that there is no room."""
        milliseconds = int(RETRY_TIME * 1000)
        if isinstance(self.message, SenderEndpoint):
            decline = Decline(nonce=self.message.nonce, retry_after=milliseconds)
        else:
            identifier = self.message.introduction
            decline = Decline(introduction=identifier, retry_after=milliseconds)
        with suppress(BrokerLostError):  # then the sender is told otherwise
            await self.link.send(decline)
