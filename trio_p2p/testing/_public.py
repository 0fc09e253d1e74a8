"""The public names of the testing kit."""

from ._internet import kinds as _kinds
from ._internet.behaviour import (
    Allocation as Allocation,
    Dependence as Dependence,
    NatBehaviour as NatBehaviour,
    Refusal as Refusal,
)
from ._memory_broker import MemoryBroker as MemoryBroker
from ._memory_host import MemoryHost as MemoryHost
from ._network import MemoryNetwork as MemoryNetwork, open_memory_network as open_memory_network
from ._order import seeded_scheduling as seeded_scheduling
from ._packet_seen import PacketSeen as PacketSeen
from ._pairs import (
    MemoryConnectionPair as MemoryConnectionPair,
    memory_connection_pair as memory_connection_pair,
    memory_stream_pair as memory_stream_pair,
)
from ._places import MemoryNat as MemoryNat
from ._script import (
    Event as Event,
    ForgetMappings as ForgetMappings,
    LosePath as LosePath,
    MoveHost as MoveHost,
    RestartBroker as RestartBroker,
    RestorePath as RestorePath,
    play as play,
)

#: NATs by name, as ``docs/testing_applications.rst`` describes them; None is no NAT.
NATS = _kinds.KINDS
