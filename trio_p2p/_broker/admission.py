"""Whom a broker admits, and to what: by lists of peers and names, and by access tokens. Sans-IO.

An open broker admits all but those that it was told to deny. A closed one admits the peers and the
names that it was told to allow, and those that show a token of its operator. What a client claims
to be counts against it at once, and for it only when it has proven it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .._errors import RemoteProtocolError
from .._identity.access_token import AccessToken, Use, check_token_untrusted
from .._identity.certificate import peer_id_of_untrusted
from .._identity.peer_id import PeerId
from .._wire.messages import RefusalCode, Refused
from .access_lists import NO_ENTRIES, Entries
from .connection import Connection
from .refusals import refuse

_ASK_OPERATOR = "ask its operator for a token, or to be listed"
_DOINGS = {
    Use.REGISTER: "to register UIDs",
    Use.ASK: "to ask for UIDs",
    Use.RELAY: "to use the relay",
}


@attrs.frozen
class AccessRules:
    """What a broker's operator has said of who may use it.

    Attributes:
        is_closed: whether only those are admitted that are allowed, or show a token.
        keys: the public keys that tokens may be signed with.
        allowed: admitted without a token.
        denied: not admitted, whatever else is said.
        revoked: the ids of tokens that are not valid any more.
    """

    is_closed: bool = False
    keys: tuple[bytes, ...] = ()
    allowed: Entries = NO_ENTRIES
    denied: Entries = NO_ENTRIES
    revoked: frozenset[bytes] = frozenset()

    @property
    def admit_all(self) -> bool:
        """Whether there is nothing to check."""
        return not (self.is_closed or self.denied)


class Admission:
    """Decides whether a client may do what it asks for.

    Args:
        unix_time: the seconds since 1970, by which tokens expire.
        rules: the rules of the operator.

    Attributes:
        rules: the same. May be replaced at any time: they are asked with every request, and for
            what is registered with every keepalive.
    """

    def __init__(self, unix_time: Callable[[], float], rules: AccessRules | None = None) -> None:
        self._unix_time = unix_time
        self.rules: AccessRules = AccessRules() if rules is None else rules

    def token_of_untrusted(self, data: bytes | None) -> AccessToken | None:
        """The token that a client has greeted with, if it is of use here.

        Raises:
            RefusalError: it is none, or not signed by the operator, or not valid any more.
        """
        if data is None or not self.rules.is_closed:
            return None
        try:
            token = check_token_untrusted(data, self.rules.keys)
        except RemoteProtocolError as error:
            refuse(RefusalCode.NOT_ADMITTED, f"{error}: ask the operator of this broker for one")
        problem = self._end_of(token)
        if problem is not None:
            refuse(RefusalCode.NOT_ADMITTED, problem)
        return token

    def wants_proof(self, connection: Connection) -> bool:
        """Whether it may help a client to prove who it is before it asks for anything."""
        token, rules = connection.token, self.rules
        is_bound = token is not None and token.peer_id is not None
        return rules.is_closed and (is_bound or (token is None and bool(rules.allowed.peers)))

    def check(
        self, use: Use, connection: Connection, uid: str, certificate: bytes, number: int
    ) -> None:
        """Make sure that a client may do something.

        Args:
            use: what the client wants to do.
            connection: the client's.
            uid: with which UID.
            certificate: what the client claims to be.
            number: of its request.

        Raises:
            RefusalError: it may not, or has to prove first what it claims to be.
            RemoteProtocolError: what it calls its certificate is none.
        """
        if not self.rules.admit_all:
            refused = self._refusal(use, connection, uid, certificate)
            if refused is not None:
                refuse(refused.code, refused.reason, number)

    def admits(self, use: Use, connection: Connection, uid: str, certificate: bytes) -> bool:
        """Whether a client may do something, as :meth:`check`, with a valid certificate or none."""
        return self.rules.admit_all or self._refusal(use, connection, uid, certificate) is None

    def why_not_registered(
        self, connection: Connection, uid: str, certificate: bytes, number: int
    ) -> Refused | None:
        """Why a client may not stay registered, or None; its identity was proven."""
        if self.rules.admit_all:
            return None
        refused = self._refusal(Use.REGISTER, connection, uid, certificate)
        return None if refused is None else attrs.evolve(refused, number=number)

    def _refusal(
        self, use: Use, connection: Connection, uid: str, certificate: bytes
    ) -> Refused | None:
        rules = self.rules
        peer_id = peer_id_of_untrusted(certificate) if certificate else None
        if peer_id in rules.denied.peers:
            return _not_admitted("its operator has denied this peer the use of this broker")
        if rules.denied.names_uid(uid):
            return _not_admitted("its operator has denied the use of this UID at this broker")
        if rules.is_closed and not rules.allowed.names_uid(uid):
            return self._refusal_of_closed(use, connection, uid, peer_id, certificate)
        return None

    def _refusal_of_closed(
        self,
        use: Use,
        connection: Connection,
        uid: str,
        peer_id: PeerId | None,
        certificate: bytes,
    ) -> Refused | None:
        allowed, token = self.rules.allowed, connection.token
        is_proven = bool(certificate) and connection.proven == certificate
        if is_proven and peer_id in allowed.peers:
            return None
        is_bound = token is not None and token.peer_id is not None
        if not connection.proven and (is_bound or allowed.peers):
            return Refused(
                RefusalCode.PROOF_WANTED,
                "this broker is closed, and wants to know first who asks: identify",
            )
        if token is None:
            return _not_admitted(f"this broker is closed: {_ASK_OPERATOR}")
        proven = peer_id if is_proven else None
        problem = self._end_of(token) or _limit_of(token, use, uid, proven)
        return None if problem is None else _not_admitted(problem)

    def _end_of(self, token: AccessToken) -> str | None:
        """Why a token is not valid any more; None if it is."""
        if token.identifier in self.rules.revoked:
            return f"this access token was revoked: {_ASK_OPERATOR}"
        if token.expires_at <= self._unix_time():
            return "this access token has expired: ask the operator of the broker for another one"
        return None


def _limit_of(token: AccessToken, use: Use, uid: str, peer_id: PeerId | None) -> str | None:
    """Why a token is not for that; None if it is."""
    if use not in token.uses:
        return f"this access token is not one {_DOINGS[use]}: {_ASK_OPERATOR}"
    if token.peer_id is not None and token.peer_id != peer_id:
        return f"this access token is for the peer {token.peer_id}, and this is another one"
    if not token.covers(uid):
        return f"this access token is for UIDs like {token.pattern} only: {_ASK_OPERATOR}"
    return None


def _not_admitted(reason: str) -> Refused:
    return Refused(RefusalCode.NOT_ADMITTED, reason)
