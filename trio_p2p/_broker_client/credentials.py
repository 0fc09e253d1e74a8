"""By what right a program uses a broker: its access token, and the proof of its identity."""

from __future__ import annotations

from .._addresses import Endpoint
from .._identity.access_token import read_token_untrusted
from .._identity.identity import Identity
from .._wire.messages import Identify


class Credentials:
    """What one program shows to one broker.

    Args:
        identity: who it is.
        token: the access token, if it has any.

    Attributes:
        token: the argument of this name.
        is_proof_wanted: whether the broker is to be waited for and shown a proof first, which
            takes a round trip: if the token is of no use without, or the broker has asked for it.
    """

    def __init__(self, identity: Identity, token: bytes | None = None) -> None:
        self.token = token
        self.is_proof_wanted: bool = (
            token is not None and read_token_untrusted(token).peer_id is not None
        )
        self._identity = identity

    def prove(self, challenge: bytes, broker: Endpoint) -> Identify:
        """The proof for one connection to a broker that wants it, now and on other connections.

        Args:
            challenge: what the broker has sent on the connection.
            broker: the endpoint that the connection leads to.
        """
        self.is_proof_wanted = True
        signature = self._identity.sign_identification(challenge, broker)
        return Identify(broker, self._identity.certificate, signature)
