"""The public names that programs with a peer need; those of a broker are in ``_broker``."""

from ._addresses import Endpoint as Endpoint
from ._attempt import Attempt as Attempt, Outcome as Outcome, Route as Route, Technique as Technique
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
