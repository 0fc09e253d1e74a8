"""For whom a receiver takes part in guessing ports, which sends many SYNs to one address.

That address is where the broker sees the sender, and may be shared: a carrier's NAT has thousands
of customers behind it. So the receiver guesses for senders only that it would admit, and seldom.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from .._addresses import IPAddress
from .._identity.certificate import (
    introduction_statement,
    is_signed_untrusted,
    peer_id_of_untrusted,
)
from .._identity.peer_id import PeerId
from .._net.barrier import Barrier
from .._wire.messages import SenderEndpoint

GUESSING_INTERVAL = 60.0  # seconds between two connections that are guessed for towards an address
# Of one connection, in different rounds: a guess comes to nothing in one case of sixty.
GUESSES_PER_CONNECTION = 2

logger = logging.getLogger("trio_p2p.receiver")


@attrs.define
class _Guessed:
    """What was guessed towards one address last."""

    search: bytes
    began_at: float
    count: int = 1


class GuessingPermits:
    """Says for which introductions to guess.

    Args:
        uid: the receiver's.
        admit: says which peers the receiver admits; all if None.
    """

    def __init__(self, uid: str, admit: Callable[[PeerId], bool] | None) -> None:
        self._uid = uid
        self._admit = admit
        self._guessed: dict[IPAddress, _Guessed] = {}

    def take_untrusted(self, message: SenderEndpoint, now: float) -> bool:
        """Whether to guess for an introduction; if so, it counts as done.

        Args:
            message: what the broker says of the sender.
            now: the time in seconds.

        Raises:
            RemoteProtocolError: the certificate is none.
        """
        search = message.search
        if search is None or message.proof is None:
            return False
        statement = introduction_statement(search, self._uid)
        if not is_signed_untrusted(message.certificate, message.proof, statement):
            return False
        peer_id = peer_id_of_untrusted(message.certificate)
        return self._is_admitted(peer_id) and self._is_due(message, search, now)

    def _is_admitted(self, peer_id: PeerId) -> bool:
        if self._admit is None:
            return True
        with Barrier(logger, f"deciding whether to admit {peer_id}"):
            return self._admit(peer_id)
        return False

    def _is_due(self, message: SenderEndpoint, search: bytes, now: float) -> bool:
        self._guessed = {
            address: guessed
            for address, guessed in self._guessed.items()
            if now < guessed.began_at + GUESSING_INTERVAL
        }
        guessed = self._guessed.get(message.endpoint.address)
        if guessed is None:
            self._guessed[message.endpoint.address] = _Guessed(search, now)
            return True
        if guessed.search != search or guessed.count == GUESSES_PER_CONNECTION:
            return False
        guessed.count += 1
        return True
