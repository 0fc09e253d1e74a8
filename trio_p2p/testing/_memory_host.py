"""A host of a memory network, which programs run on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from ipaddress import IPv4Address
from random import Random
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

import trio

from .._net.system import system_in_use
from .._options import Brokers
from .._peer.opening import open_peer
from .._peer.peer import Peer
from ._agenda import Agenda
from ._host.stack import Stack
from ._host.system import HostSystem
from ._internet.packets import Packet
from ._on_host import HostPeer, OnHost
from ._packet_seen import PacketSeen, describe
from ._places import AnyNat, Map, MemoryNat, Spot

OnPacket: TypeAlias = Callable[[PacketSeen], object]
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class MemoryHost:
    """A host of a memory network; :meth:`MemoryNetwork.add_host` adds one.

    Attributes:
        name: its name, by which the other hosts of the network find it.
    """

    def __init__(
        self,
        name: str,
        *,
        place: Map,
        agenda: Agenda,
        random: Random,
        find_name: Callable[[str], IPv4Address],
        on_packet: OnPacket | None,
    ) -> None:
        self.name = name
        self._map = place
        self._on_packet = on_packet
        self._stack = Stack(self._send, trio.current_time, agenda.call_at, random)
        self._system = HostSystem(self._stack, find_name)
        self._spot: Spot | None = None

    def __repr__(self) -> str:
        return f"<MemoryHost {self.name}>"

    @property
    def address(self) -> IPv4Address:
        """The host's own address."""
        return self.spot.addresses[0]

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All of its own addresses."""
        return self.spot.addresses

    @property
    def public_address(self) -> IPv4Address:
        """The address that the internet sees it at."""
        return self.spot.public_address

    @property
    def nats(self) -> tuple[MemoryNat, ...]:
        """The NATs between the host and the internet, the innermost first."""
        return self.spot.nats

    @property
    def spot(self) -> Spot:
        """Where it is connected.

        Raises:
            RuntimeError: it is not.
        """
        if self._spot is None:
            raise RuntimeError(f"host {self.name} is in no network: move it into one")
        return self._spot

    def open_peer(self, broker: Brokers, **options: Any) -> AbstractAsyncContextManager[Peer]:
        """Be a peer on this host.

        Args:
            broker: as for :func:`trio_p2p.open_peer`.
            options: as for :func:`trio_p2p.open_peer`.

        Returns:
            An async context manager of a :class:`trio_p2p.Peer`, whose methods may be called from
            any task: they run on this host.
        """
        return OnHost(self._system, self._opened(broker, options))

    @asynccontextmanager
    async def _opened(self, broker: Brokers, options: dict[str, Any]) -> AsyncGenerator[Peer]:
        async with open_peer(broker, **options) as peer:
            yield HostPeer(peer, self._system)

    async def run(self, async_function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run a function on this host, with all tasks that begin in it.

        Args:
            async_function: what to run: a whole program, which opens peers as it always does.
            args: its arguments.
        """
        with self.in_use():
            return await async_function(*args)

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Run a block on this host, with all tasks that begin in it."""
        with system_in_use(self._system):
            yield

    def connect(self, behind: MemoryNat | None, count: int) -> None:
        """Connect the host, with so many addresses."""
        self._spot = self._map.connect(self._take, behind, count)
        self._stack.addresses = tuple(each.packed for each in self._spot.addresses)
        self._system.tell_of_move()

    def move(self, *nats: AnyNat) -> None:
        """Move to another network, with another address: connections from the old one are dead.

        The host's programs are told, as by the kernel of a laptop that changes its network.

        Args:
            nats: as for :meth:`MemoryNetwork.add_host`.
        """
        count = 1 if self._spot is None else len(self._spot.addresses)
        behind = self._map.add_nats(nats)
        self.disconnect()
        self.connect(behind, count)

    def disconnect(self) -> None:
        """Leave the network, and be in none until :meth:`move`."""
        if self._spot is not None:
            self._map.disconnect(self._spot)
            self._spot = None
            self._stack.addresses = ()
            self._system.tell_of_move()

    def forget_mappings(self) -> None:
        """Let all NATs between the host and the internet forget their mappings."""
        for nat in self.nats:
            nat.forget()

    def _send(self, packet: Packet) -> None:
        if self._spot is not None:
            self._tell(packet, is_outgoing=True)
            self._map.internet.send(self._spot.device, packet)

    def _take(self, packet: Packet) -> None:
        self._tell(packet, is_outgoing=False)
        self._stack.take(packet)

    def _tell(self, packet: Packet, *, is_outgoing: bool) -> None:
        if self._on_packet is not None:
            now = trio.current_time()
            self._on_packet(describe(packet, self.name, now, is_outgoing=is_outgoing))
