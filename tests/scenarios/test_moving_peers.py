"""Peers that change networks: they are registered again, and senders' streams go on.

The receiver, or the sender, has a second uplink, which is there only after its first one has gone:
another address, another router, another NAT. The timers that would find out later are as good as
off: what goes on has heard that a network changed, from its own system or from the broker.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Interface

import attrs
import pytest
import trio

from trio_p2p import P2PStream, StreamPath, open_p2p_listener, open_p2p_stream, serve_p2p
from trio_p2p._broker import registry
from trio_p2p._broker.server import Broker
from trio_p2p._broker_client import connection
from trio_p2p._lab.networks import LinkEnd, connect
from trio_p2p._stream import leg

from ..kit.lab import KernelNetwork, Nat, Network, Site, run, running
from ..kit.loopback import DIRECT_TECHNIQUES, TECHNIQUES, echo, open_stream, until

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 60.0  # seconds until something that hangs fails its test
AWAY_TIME = 0.5  # without any network
TIMERS = (
    (connection, "KEEPALIVE_TIME"),
    (leg, "BUSY_HEARTBEAT_TIME"),
    (leg, "BUSY_SILENCE_TIME"),
    (leg, "IDLE_HEARTBEAT_TIME"),
    (leg, "IDLE_SILENCE_TIME"),
    (registry, "SILENCE_TIME"),
)

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

    def arrive(self) -> None:
        """Get another address."""
        self.site.host.ip(
            f"address add {_HOME} dev away", f"route add default via {_GATEWAY} dev away"
        )

    async def move(self) -> None:
        """Both, with a pause in between."""
        self.leave()
        await trio.sleep(AWAY_TIME)
        self.arrive()


class Lab:
    """A broker, and two peers that travel."""

    def __init__(self, network: Network, stack: ExitStack) -> None:
        self._host = network.add_host()
        self.receiver, self.sender = (Traveller.add_to(network) for _ in range(2))
        self._stack = stack
        self._broker = ExitStack()
        self._port = 0
        self._registry = Broker().registry
        self.restart_broker()

    @property
    def broker(self) -> tuple[str, int]:
        return str(self._host.host_address), self._port

    def restart_broker(self) -> None:
        self._broker.close()
        self._broker = self._stack.enter_context(ExitStack())
        self._port = self._broker.enter_context(running(self._host.host, self._serve))

    async def _serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        broker = Broker()
        [listener] = await trio.open_tcp_listeners(self._port, host=self.broker[0])
        self._registry = broker.registry
        task_status.started(listener.socket.getsockname()[1])
        await broker.serve_listeners([listener])

    async def wait_watched(self, watches: int = 1) -> None:
        """Wait until the broker is going to tell the sender that the receiver has moved.

        Args:
            watches: how many there are by then. Those of networks that the sender has left stay.
        """
        await until(lambda: self._registry.watches == watches)


@pytest.fixture
def lab(kernel_network: KernelNetwork, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for module, name in TIMERS:
        monkeypatch.setattr(module, name, 100 * getattr(module, name))
    with ExitStack() as stack:
        yield Lab(kernel_network, stack)


def test_receiver_is_registered_again(lab: Lab) -> None:
    async def receive() -> None:
        with trio.fail_after(PATIENCE):
            async with open_p2p_listener("receiver", lab.broker) as listener:
                await lab.receiver.move()
                await until(lambda: listener.statistics().registrations == 2)

    run(lab.receiver.site.host, receive)


async def ask(stream: P2PStream) -> None:
    await stream.send_all(b"?")
    assert await stream.receive_some() == b"?"


async def wait_for_another_path(stream: P2PStream, before: StreamPath | None) -> None:
    path = before
    while path in (before, None):
        path = await stream.wait_path_changed(path)


@pytest.mark.parametrize("is_idle", [False, True], ids=["busy", "idle"])
@pytest.mark.parametrize("path", ["direct", "relay", "any"])
@pytest.mark.parametrize("mover", ["sender", "receiver"])
def test_stream_goes_on(lab: Lab, mover: str, path: str, is_idle: bool) -> None:
    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_stream("receiver", lab.broker, techniques=TECHNIQUES[path]) as stream:
                await ask(stream)
                await lab.wait_watched()
                before = stream.path
                traveller: Traveller = getattr(lab, mover)
                await traveller.move()
                if is_idle:
                    await wait_for_another_path(stream, before)
                else:
                    await ask(stream)
                    assert stream.path != before
                await ask(stream)

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        run(lab.sender.site.host, send)


@pytest.mark.parametrize("movers", [("sender", "receiver"), ("receiver", "sender")])
def test_stream_goes_on_whoever_moves_next(lab: Lab, movers: tuple[str, ...]) -> None:
    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream("receiver", lab.broker) as stream:
                await ask(stream)
                watches = 1
                for mover in movers:
                    await lab.wait_watched(watches)
                    watches += mover == "sender"
                    traveller: Traveller = getattr(lab, mover)
                    await traveller.move()
                    await ask(stream)

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        run(lab.sender.site.host, send)


def test_receiver_that_registers_again_where_it_was_disturbs_no_stream(lab: Lab) -> None:
    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_stream("receiver", lab.broker, techniques=DIRECT_TECHNIQUES) as stream:
                await ask(stream)
                await lab.wait_watched()
                lab.restart_broker()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lab.wait_watched)
                    while nursery.child_tasks:
                        await ask(stream)
                await ask(stream)

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        run(lab.sender.site.host, send)
