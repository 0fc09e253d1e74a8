"""TCP connections between Trio programs that sit behind NATs.

A :class:`Peer` (:func:`open_peer`) listens under names that it registers with a broker, and opens
streams to other peers by theirs. :func:`open_p2p_stream`, :func:`open_p2p_listener` and
:func:`serve_p2p` are short for a peer with one purpose. :func:`serve_broker` is the broker.
"""

import logging as _logging

from ._addresses import Endpoint as Endpoint
from ._attempt import Attempt as Attempt, Outcome as Outcome, Route as Route, Technique as Technique
from ._broker.access import AccessFiles as AccessFiles
from ._broker.limits import BrokerLimits as BrokerLimits
from ._broker.quota import RelayLimits as RelayLimits
from ._broker.serve import serve_broker as serve_broker
from ._broker.tls import TLSFiles as TLSFiles
from ._control.watches import Registrations as Registrations
from ._errors import (
    AccessDeniedError as AccessDeniedError,
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
    UnknownProtocolError as UnknownProtocolError,
    UnknownUIDError as UnknownUIDError,
    UnsupportedVersionError as UnsupportedVersionError,
    WrongPeerError as WrongPeerError,
)
from ._highlevel import (
    open_p2p_listener as open_p2p_listener,
    open_p2p_stream as open_p2p_stream,
    serve_p2p as serve_p2p,
)
from ._identity.identity import Identity as Identity
from ._identity.peer_id import PeerId as PeerId
from ._listen.listener import (
    P2PListener as P2PListener,
    P2PListenerStatistics as P2PListenerStatistics,
)
from ._nat.findings import Survey as Survey
from ._peer.opening import open_peer as open_peer
from ._peer.peer import Peer as Peer
from ._peer.statistics import PeerStatistics as PeerStatistics
from ._stream.connection_statistics import P2PConnectionStatistics as P2PConnectionStatistics
from ._stream.p2p_connection import P2PConnection as P2PConnection
from ._stream.p2p_stream import P2PStream as P2PStream
from ._stream.stream_path import PathKind as PathKind, StreamPath as StreamPath
from ._stream.tracer import Tracer as Tracer

# Silent, unless the application asks for our logs.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

# Tracebacks and documentation speak of the names that users import.
for _name, _value in list(globals().items()):
    if not _name.startswith("_"):
        _value.__module__ = __name__
del _name, _value  # pyright: ignore[reportPossiblyUnboundVariable]
