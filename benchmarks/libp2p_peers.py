"""The peers that py-libp2p connects by a relay and DCUtR, timed until the sender has an echo.

They are set up like py-libp2p's own example of NAT traversal, without the pauses that it makes, and
the receiver asks the relay for its reservation at once. Hosts listen on their one address, from
which DCUtR dials. TCP, Noise and Yamux are the defaults. DCUtR starts by itself, when it notices in
its round of every 2 s that a connection is relayed; ``libp2p_helped`` does not wait for that.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

import attrs
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.relay.circuit_v2.config import RelayConfig, RelayRole
from libp2p.relay.circuit_v2.dcutr import DCUtRProtocol
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.transport import CircuitV2Transport
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from .roles import MESSAGE, PATIENCE, play

ECHO = TProtocol("/echo/1.0.0")
# More than all senders of the benchmark together need.
LIMITS = RelayLimits(duration=3600, data=2**30, max_circuit_conns=100, max_reservations=100)
CONFIG = RelayConfig(roles=RelayRole.STOP | RelayRole.CLIENT, limits=LIMITS)


@attrs.frozen
class Peer:
    """A host, and what connects it to others."""

    host: IHost
    transport: CircuitV2Transport
    dcutr: DCUtRProtocol


async def relay(address: str, *, task_status: trio.TaskStatus[str]) -> None:
    host = new_host()
    protocol = CircuitV2Protocol(host, limits=LIMITS, allow_hop=True)
    async with host.run(listen_addrs=[_listen_address(address)]), background_trio_service(protocol):
        task_status.started(str(host.get_addrs()[0]))
        await trio.sleep_forever()


async def receive(address: str, relay_address: str, *, task_status: trio.TaskStatus[str]) -> None:
    relay_info = info_from_p2p_addr(Multiaddr(relay_address))
    async with _open_peer(address) as peer, trio.open_nursery() as nursery:
        peer.host.set_stream_handler(ECHO, _echo)
        await peer.host.connect(relay_info)
        stream = await peer.host.new_stream(relay_info.peer_id, [PROTOCOL_ID])
        assert await peer.transport.reserve(stream, relay_info.peer_id, nursery)
        await stream.close()
        task_status.started(str(peer.host.get_id()))


Upgrade: TypeAlias = Callable[[Peer, ID], Awaitable[None]]
"""Returns when there is a direct connection to the peer."""


async def seconds_to_echo(
    upgrade: Upgrade, address: str, relay_address: str, name: str
) -> float | None:
    started_at = trio.current_time()
    receiver = ID.from_string(name)
    with trio.move_on_after(PATIENCE):
        async with _open_peer(address) as peer:
            with suppress(BaseLibp2pError, ConnectionError):
                await peer.host.connect(info_from_p2p_addr(Multiaddr(relay_address)))
                await peer.transport.dial(Multiaddr(f"{relay_address}/p2p-circuit/p2p/{name}"))
                await upgrade(peer, receiver)
                stream = await peer.host.new_stream(receiver, [ECHO])
                await stream.write(MESSAGE)
                if await stream.read(len(MESSAGE)) == MESSAGE:
                    return trio.current_time() - started_at
    return None


async def _wait(peer: Peer, receiver: ID) -> None:
    while all(map(_is_relayed, peer.host.get_network().connections[receiver])):  # noqa: ASYNC110
        await trio.sleep(0.005)


def _is_relayed(connection: INetConn) -> bool:
    return any("/p2p-circuit" in str(each) for each in connection.get_transport_addresses())


@asynccontextmanager
async def _open_peer(address: str) -> AsyncGenerator[Peer]:
    host = new_host()
    protocol = CircuitV2Protocol(host, limits=LIMITS)
    dcutr = DCUtRProtocol(host)
    async with (
        host.run(listen_addrs=[_listen_address(address)]),
        background_trio_service(protocol),
        background_trio_service(dcutr),
    ):
        yield Peer(host, CircuitV2Transport(host, protocol, CONFIG), dcutr)


def _listen_address(address: str) -> Multiaddr:
    return Multiaddr(f"/ip4/{address}/tcp/0")


async def _echo(stream: INetStream) -> None:
    await stream.write(await stream.read(len(MESSAGE)))
    await stream.close()


def play_with(upgrade: Upgrade) -> None:
    """Play the part that the command line names."""
    logging.disable()  # it logs each dial that fails, as most of hole punching's do
    play(relay, receive, partial(seconds_to_echo, upgrade))


if __name__ == "__main__":
    play_with(_wait)
