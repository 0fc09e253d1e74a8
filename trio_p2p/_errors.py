"""Everything that trio_p2p raises, in one hierarchy.

Blame is split: what the caller did wrong is a :exc:`LocalProtocolError`, what the other side did
wrong is a :exc:`RemoteProtocolError`, and what the network did is one of the others. The text of an
error is for people; the facts that a program may act on are attributes. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._attempt import Attempt

if TYPE_CHECKING:
    from ._identity.peer_id import PeerId  # which raises these errors itself


def shown(value: object) -> str:
    """Return what a caller gave, cut to what a line of an error's text can show."""
    try:
        return f"{value!r:.200}"
    except (ValueError, RecursionError):  # the number of 5,000 digits, the list that holds itself
        return f"this {type(value).__name__}"


class P2PError(Exception):
    """The base of every error that is trio_p2p's own."""

    def __repr__(self) -> str:
        facts = [f"{name}={fact!r}" for name, fact in vars(self).items() if name[0] != "_"]
        return f"{type(self).__name__}({', '.join([repr(str(self)), *facts])})"


class BrokerUnreachableError(P2PError):
    """No connection to the broker could be made."""


class BrokerLostError(P2PError):
    """The broker closed the connection, or the connection broke."""


class AccessDeniedError(P2PError):
    """The broker does not admit this program, or not to what it has asked for.

    To try again does not help until the broker's operator has changed something, or the program has
    another access token.
    """


class UnknownUIDError(P2PError):
    """No receiver is registered under the UID.

    Attributes:
        uid: the UID that was asked for, or None if the broker refused without being asked.
    """

    def __init__(self, text: str, *, uid: str | None = None) -> None:
        super().__init__(text)
        self.uid = uid


class UnknownProtocolError(P2PError):
    """The receiver does not serve the protocol that a stream was opened for.

    Attributes:
        protocol: the protocol's name; empty for the default one.
    """

    def __init__(self, text: str, *, protocol: str = "") -> None:
        super().__init__(text)
        self.protocol = protocol


class UIDTakenError(P2PError):
    """Another receiver is registered under the UID.

    Attributes:
        uid: the UID that was to be registered, or None if the broker refused without being asked.
    """

    def __init__(self, text: str, *, uid: str | None = None) -> None:
        super().__init__(text)
        self.uid = uid


class BusyError(P2PError):
    """The broker or the receiver has no room for another request now.

    Opening a stream tries again by itself, as long as the caller waits.

    Attributes:
        retry_after: after how many seconds to try again.
    """

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class IdentityError(P2PError):
    """An identity cannot be used: its file is not in order, or the broker rejects its proof."""


class WrongPeerError(P2PError):
    """The peer authenticated as another peer id than the expected one, or not at all.

    Attributes:
        expected: the peer id that the peer had to have, or None if only the broker had named it.
        found: the peer id that was found, or None if the peer proved none.
    """

    def __init__(
        self, text: str, *, expected: PeerId | None = None, found: PeerId | None = None
    ) -> None:
        super().__init__(text)
        self.expected = expected
        self.found = found


class SessionLostError(P2PError):
    """The peer does not know the session any more: its program was restarted, for example."""


class StreamAbortedError(P2PError):
    """The other side aborted the stream."""


class NotAdmittedError(StreamAbortedError):
    """The receiver does not admit this peer."""


class PathLostError(P2PError):
    """A stream has lost its path, and found no other one in time."""


class RelayError(P2PError):
    """The broker does not relay, or not any more.

    Attributes:
        retry_after: after how many seconds to try again; 0 if the broker does not say.
    """

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ProtocolError(P2PError):
    """The protocol between peers and broker was violated."""


class LocalProtocolError(ProtocolError, ValueError):
    """This program asked for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol does not allow."""


class UnsupportedVersionError(ProtocolError):
    """The two sides speak no common version of the protocol."""


class AttemptFailedError(P2PError):
    """One attempt to connect failed.

    Attributes:
        attempt: the attempt, and its outcome.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self.attempt = attempt


class IntroductionError(P2PError):
    """The peers were to be introduced, but no connection came of it.

    The causes, one :exc:`AttemptFailedError` per attempt, are in the :exc:`ExceptionGroup` that
    is this error's ``__cause__``.

    Attributes:
        attempts: each attempt at a direct connection, in the order in which they ended. Unlike
            ``__cause__`` it survives pickling.
    """

    def __init__(self, text: str, *, attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(text)
        self.attempts = attempts
