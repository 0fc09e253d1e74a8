"""Connects to a receiver through the broker's relay."""

from __future__ import annotations

from functools import partial

from .._broker_client.relay import ask_for_relay
from .._control.controls import Controls
from .._net.attempt_log import AttemptLog
from .._peer_connection import PeerConnection
from .patience import retry_while_busy


class RelayDialer:
    """Connects to one receiver through the relay.

    Args:
        controls: the connections to the broker.
        uid: the receiver's UID.

    Attributes:
        uid: the same.
    """

    def __init__(self, controls: Controls, uid: str) -> None:
        self.uid = uid
        self._controls = controls

    async def dial(self, attempts: AttemptLog) -> PeerConnection:
        """A relayed connection; see :func:`ask_for_relay`.

        Args:
            attempts: where the attempt is noted.
        """
        certificate = self._controls.options.identity.certificate
        ask = partial(ask_for_relay, self._controls.broker, self.uid, certificate, attempts)
        return await retry_while_busy(ask)
