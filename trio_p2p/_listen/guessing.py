"""For whom a receiver takes part in guessing ports, which sends many SYNs to one address.

That address is where the broker sees the sender, and may be shared: a carrier's NAT has thousands
of customers behind it. So the receiver guesses for senders only that it would admit, and seldom.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from .._control.guesses import Guesses
from .._identity.certificate import (
    introduction_statement,
    is_signed_untrusted,
    peer_id_of_untrusted,
)
from .._identity.peer_id import PeerId
from .._net.barrier import Barrier
from .._wire.messages import SenderEndpoint

logger = logging.getLogger("trio_p2p.receiver")


class GuessingPermits:
    """Says for which introductions to guess.

    Args:
        uid: the receiver's.
        admit: says which peers the receiver admits; all if None.
        guesses: the peer's, for all its names.
    """

    def __init__(self, uid: str, admit: Callable[[PeerId], bool] | None, guesses: Guesses) -> None:
        self._uid = uid
        self._admit = admit
        self._guesses = guesses

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
        if not self._is_admitted(peer_id_of_untrusted(message.certificate)):
            return False
        return self._guesses.take(message.endpoint.address, search, now)

    def _is_admitted(self, peer_id: PeerId) -> bool:
        if self._admit is None:
            return True
        with Barrier(logger, f"deciding whether to admit {peer_id}"):
            return self._admit(peer_id)
        return False
