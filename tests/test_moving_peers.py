"""Peers that change networks: registered again, and senders' streams go on, within two seconds.

The receiver, or the sender, has a second uplink, which is there only after its first one has gone:
another address, another router, another NAT. The clock runs from when the new one can be used.
"""

from collections.abc import Iterator
from ipaddress import IPv4Interface

import attrs
import pytest
import trio

from trio_p2p import (
    P2PStream,
    open_p2p_listener,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)
from trio_p2p._lab.networks import LinkEnd, connect
from trio_p2p._stream.leg import BUSY_SILENCE_TIME

from .lab import KernelNetwork, Nat, Network, Site, run, running
from .loopback import echo, until

PATIENCE = 30.0  # seconds until something that hangs fails its test
LIMIT = 2.0  # seconds from when the new address can be used
AWAY_TIME = 0.5  # without any network

_HOME = IPv4Interface("10.77.0.2/24")
_GATEWAY = _HOME.ip - 1


@attrs.frozen(eq=False)
class Traveller:
    """A host behind a NAT that may move behind another one."""

    site: Site

    @classmethod
    def add_to(cls, network: Network) -> "Traveller":
        site, other = network.add_site(Nat()), network.add_site(Nat())
        connect(
            LinkEnd(other.router, "guests", IPv4Interface((_GATEWAY, 24))),
            LinkEnd(site.host, "away", _HOME),
        )
        site.host.ip(f"address del {_HOME} dev away")
        return cls(site)

    def leave(self) -> None:
        """Lose the first address."""
        self.site.host.ip(f"address del {self.site.host_address}/24 dev lan")

    def arrive(self) -> float:
        """Get another address; when that was, by Trio's clock."""
        self.site.host.ip(
            f"address add {_HOME} dev away", f"route add default via {_GATEWAY} dev away"
        )
        return trio.current_time()

    async def move(self) -> float:
        """Both, with a pause in between."""
        self.leave()
        await trio.sleep(AWAY_TIME)
        return self.arrive()


@attrs.frozen(eq=False)
class Lab:
    """A broker, and two peers that travel."""

    broker: tuple[str, int]
    receiver: Traveller
    sender: Traveller


@pytest.fixture
def lab(kernel_network: KernelNetwork) -> Iterator[Lab]:
    host = kernel_network.add_host()
    peers = [Traveller.add_to(kernel_network) for _ in range(2)]
    with running(host.host, serve_broker, 0) as listeners:
        port = listeners[0].socket.getsockname()[1]
        yield Lab((str(host.host_address), port), *peers)


def test_receiver_is_registered_again(lab: Lab) -> None:
    async def receive() -> float:
        with trio.fail_after(PATIENCE):
            async with open_p2p_listener("receiver", lab.broker) as listener:
                arrived_at = await lab.receiver.move()
                await until(lambda: listener.statistics().registrations == 2)
                return trio.current_time() - arrived_at

    assert run(lab.receiver.site.host, receive) < LIMIT


async def ask(stream: P2PStream) -> None:
    await stream.send_all(b"?")
    assert await stream.receive_some() == b"?"


@pytest.mark.parametrize(
    ("mover", "path", "limit"),
    [
        ("sender", "direct", LIMIT),
        ("sender", "relay", LIMIT),
        ("sender", "any", LIMIT),
        # The sender notices by the silence only.
        ("receiver", "any", BUSY_SILENCE_TIME + LIMIT),
    ],
)
def test_stream_goes_on(lab: Lab, mover: str, path: str, limit: float) -> None:
    async def send() -> float:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream("receiver", lab.broker, path=path) as stream:
                await ask(stream)
                before = stream.path
                await trio.sleep(0.2)
                traveller: Traveller = getattr(lab, mover)
                arrived_at = await traveller.move()
                await ask(stream)
                assert stream.path != before
                return trio.current_time() - arrived_at

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        assert run(lab.sender.site.host, send) < limit
