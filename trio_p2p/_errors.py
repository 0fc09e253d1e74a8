"""Everything that trio_p2p raises, in one hierarchy.

Blame is split: what the caller did wrong is a :exc:`LocalProtocolError`, what the other side did
wrong is a :exc:`RemoteProtocolError`, and what the network did is one of the others.
"""

from __future__ import annotations

from ._attempt import Attempt


class P2PError(Exception):
    """The base of every error that is trio_p2p's own."""


class BrokerUnreachableError(P2PError):
    """No connection to the broker could be made."""


class BrokerLostError(P2PError):
    """The broker closed the connection, or the connection broke."""


class UnknownUIDError(P2PError):
    """No receiver is registered under the UID."""


class UIDTakenError(P2PError):
    """Another receiver is registered under the UID."""


class IdentityError(P2PError):
    """An identity cannot be used: its file, or what it was to prove, is not in order."""


class WrongPeerError(P2PError):
    """Whoever answered is not the peer that was to be connected to."""


class SessionLostError(P2PError):
    """The peer does not know the stream any more: its program was started again, say."""


class StreamAbortedError(P2PError):
    """The other side gave the stream up."""


class NotAdmittedError(StreamAbortedError):
    """The receiver does not admit this peer."""


class PathLostError(P2PError):
    """A stream has lost its path, and found no other one in time."""


class RelayError(P2PError):
    """The broker does not relay, or not any more."""


class BusyError(P2PError):
    """The broker or the receiver has no room for a request now: try again in a while.

    Opening a stream does so by itself, as long as the caller waits for it.

    Attributes:
        retry_after: in how many seconds there may be room.
    """

    def __init__(self, text: str, retry_after: float) -> None:
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
    """One attempt to connect failed; see :attr:`attempt`.

    Attributes:
        attempt: what was attempted, and what came of it.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self.attempt = attempt

    def __str__(self) -> str:
        return str(self.attempt)


class IntroductionError(P2PError):
    """The peers were introduced, but no connection came of it.

    The causes, one :exc:`AttemptFailedError` per attempt, are in the :exc:`ExceptionGroup` that
    is this error's ``__cause__``.
    """
