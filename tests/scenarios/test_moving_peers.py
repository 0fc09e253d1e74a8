"""Peers that change networks: registered again, and senders' streams go on, within two seconds.

The receiver, or the sender, has a second uplink, which is there only after its first one has gone:
another address, another router, another NAT. The clock runs from when the new one can be used.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Interface

import attrs
import pytest
import trio

from trio_p2p import (
    P2PStream,
    StreamPath,
    open_p2p_listener,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)
from trio_p2p._lab.networks import LinkEnd, connect

from ..kit.lab import KernelNetwork, Nat, Network, Site, run, running
from ..kit.loopback import echo, until

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 30.0  # seconds until something that hangs fails its test
LIMIT = 2.0  # seconds from when the new address can be used
AWAY_TIME = 0.5  # without any network
SETTLING_TIME = 0.3  # until the sender watches the receiver

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


class Lab:
    """A broker, and two peers that travel."""

    def __init__(self, network: Network, stack: ExitStack) -> None:
        self._host = network.add_host()
        self.receiver, self.sender = (Traveller.add_to(network) for _ in range(2))
        self._stack = stack
        self._broker = ExitStack()
        self._port = 0
        self.restart_broker()

    @property
    def broker(self) -> tuple[str, int]:
        return str(self._host.host_address), self._port

    def restart_broker(self) -> None:
        self._broker.close()
        self._broker = self._stack.enter_context(ExitStack())
        listeners = self._broker.enter_context(running(self._host.host, serve_broker, self._port))
        self._port = listeners[0].socket.getsockname()[1]


@pytest.fixture
def lab(kernel_network: KernelNetwork) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(kernel_network, stack)


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


async def wait_for_another_path(stream: P2PStream, before: StreamPath | None) -> None:
    path = before
    while path in (before, None):
        path = await stream.wait_path_changed(path)


@pytest.mark.parametrize("is_idle", [False, True], ids=["busy", "idle"])
@pytest.mark.parametrize("path", ["direct", "relay", "any"])
@pytest.mark.parametrize("mover", ["sender", "receiver"])
def test_stream_goes_on(lab: Lab, mover: str, path: str, is_idle: bool) -> None:
    async def send() -> float:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream("receiver", lab.broker, path=path) as stream:
                await ask(stream)
                await trio.sleep(SETTLING_TIME)
                before = stream.path
                traveller: Traveller = getattr(lab, mover)
                arrived_at = await traveller.move()
                if is_idle:
                    await wait_for_another_path(stream, before)
                else:
                    await ask(stream)
                    assert stream.path != before
                seconds = trio.current_time() - arrived_at
                await ask(stream)
                return seconds

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        assert run(lab.sender.site.host, send) < LIMIT


@pytest.mark.parametrize("movers", [("sender", "receiver"), ("receiver", "sender")])
def test_stream_goes_on_whoever_moves_next(lab: Lab, movers: tuple[str, ...]) -> None:
    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream("receiver", lab.broker) as stream:
                await ask(stream)
                for mover in movers:
                    await trio.sleep(SETTLING_TIME)
                    traveller: Traveller = getattr(lab, mover)
                    await traveller.move()
                    with trio.fail_after(LIMIT):
                        await ask(stream)

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        run(lab.sender.site.host, send)


def test_receiver_that_registers_again_where_it_was_disturbs_no_stream(lab: Lab) -> None:
    async def send() -> None:
        with trio.fail_after(PATIENCE):
            async with open_p2p_stream("receiver", lab.broker, path="direct") as stream:
                await ask(stream)
                await trio.sleep(SETTLING_TIME)
                lab.restart_broker()
                for _ in range(100):
                    with trio.fail_after(LIMIT):
                        await ask(stream)
                    await trio.sleep(0.01)

    with running(lab.receiver.site.host, serve_p2p, echo, "receiver", lab.broker):
        run(lab.sender.site.host, send)
