"""TCP connections between Trio programs that sit behind NATs.

A receiver registers a UID with a broker (:func:`open_p2p_listener`, :func:`serve_p2p`); a sender
asks for that UID and is connected directly (:func:`open_p2p_stream`, :func:`open_p2p_sender`).
:func:`serve_broker` is the broker.
"""

import logging as _logging

from ._addresses import Endpoint as Endpoint
from ._attempt import Attempt as Attempt, Outcome as Outcome, Route as Route, Technique as Technique
from ._broker.quota import RelayLimits as RelayLimits
from ._broker.server import serve_broker as serve_broker
from ._errors import (
    AttemptFailedError as AttemptFailedError,
    BrokerLostError as BrokerLostError,
    BrokerUnreachableError as BrokerUnreachableError,
    BusyError as BusyError,
    IdentityError as IdentityError,
    IntroductionError as IntroductionError,
    LocalProtocolError as LocalProtocolError,
    NotAdmittedError as NotAdmittedError,
    P2PError as P2PError,
    PathLostError as PathLostError,
    ProtocolError as ProtocolError,
    RelayError as RelayError,
    RemoteProtocolError as RemoteProtocolError,
    SessionLostError as SessionLostError,
    StreamAbortedError as StreamAbortedError,
    UIDTakenError as UIDTakenError,
    UnknownUIDError as UnknownUIDError,
    UnsupportedVersionError as UnsupportedVersionError,
    WrongPeerError as WrongPeerError,
)
from ._highlevel import open_p2p_stream as open_p2p_stream, serve_p2p as serve_p2p
from ._identity.identity import Identity as Identity
from ._identity.peer_id import PeerId as PeerId
from ._listen.listener import (
    P2PListener as P2PListener,
    P2PListenerStatistics as P2PListenerStatistics,
    open_p2p_listener as open_p2p_listener,
)
from ._peer import P2PSender as P2PSender, open_p2p_sender as open_p2p_sender
from ._stream.p2p_stream import P2PStream as P2PStream
from ._stream.stream_path import PathKind as PathKind, StreamPath as StreamPath

# Silent, unless the application asks for our logs.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

# Tracebacks and documentation speak of the names that users import.
for _name, _value in list(globals().items()):
    if not _name.startswith("_"):
        _value.__module__ = __name__
del _name, _value  # pyright: ignore[reportPossiblyUnboundVariable]
