"""Connects to a receiver through the broker's relay."""

from __future__ import annotations

from functools import partial

from .._broker_client.relay import ask_for_relay
from .._control.controls import Controls
from .._peer_connection import OnAttempt, PeerConnection
from .patience import retry_while_busy


class RelayDialer:
    """Connects to one receiver through the relay.

    Args:
        controls: the connections to the broker.
        uid: the receiver's UID.
    """

    def __init__(self, controls: Controls, uid: str) -> None:
        self._controls = controls
        self._uid = uid

    async def dial(self, on_attempt: OnAttempt) -> PeerConnection:
        """A relayed connection; see :func:`ask_for_relay`.

        Args:
            on_attempt: told of the attempt when it has ended.
        """
        certificate = self._controls.options.identity.certificate
        ask = partial(ask_for_relay, self._controls.broker, self._uid, certificate, on_attempt)
        return await retry_while_busy(ask)
