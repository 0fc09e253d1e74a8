"""A broker behind a real proxy, and peers behind real NATs: they meet as without the proxy."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio

from trio_p2p import P2PStream, PathKind, open_peer, serve_broker, serve_p2p
from trio_p2p._broker.tls import TLSFiles
from trio_p2p._lab.networks import NatKind

from ..kit.certificates import Authority
from ..kit.haproxy import proxying
from ..kit.lab import KernelNetwork, Nat, run, running

pytestmark = [pytest.mark.once, pytest.mark.slow]

PATIENCE = 60.0
PORTS = (4433, 4434)


async def echo(stream: P2PStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def meet(place: str, techniques: list[str], kind: PathKind) -> None:
    """Reach the receiver by a kind of path, and talk to it."""
    with trio.fail_after(PATIENCE):
        async with (
            open_peer(place, techniques=techniques) as peer,
            await peer.open_stream("alice") as stream,
        ):
            while (path := stream.path) is None or path.kind is not kind:
                await stream.wait_path_changed(path)
            await stream.send_all(b"hello")
            assert await stream.receive_some(5) == b"hello"


@contextmanager
def proxied_broker(
    network: KernelNetwork, option: str, tls: TLSFiles | None = None
) -> Iterator[str]:
    """A broker that is reached by a proxy only; the address of that."""
    broker, proxy = network.add_host(), network.add_host()
    serve = partial(
        serve_broker,
        probe_port=0,
        proxies=[ip_network(str(proxy.host_address))],
        tls=tls,
    )
    with running(broker.host, serve, 0) as listeners:
        found = [listener.socket.getsockname()[1] for listener in listeners]
        targets = {
            port: (str(broker.host_address), target)
            for port, target in zip(PORTS, (found[0], found[-1]), strict=True)
        }
        with proxying(proxy, targets, option=option):
            yield f"{proxy.host_address}:{PORTS[0]}"


@pytest.mark.parametrize(
    ("techniques", "kind"),
    [
        (["fast"], PathKind.DIRECT),
        (["classic"], PathKind.DIRECT),
        (["relay"], PathKind.RELAY),
        (["fast", "classic", "relay"], PathKind.DIRECT),
    ],
    ids=str,
)
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_peers_behind_nats_meet(
    kernel_network: KernelNetwork, option: str, techniques: list[str], kind: PathKind
) -> None:
    network = kernel_network
    receiver, sender = (network.add_site(Nat(NatKind.MASQUERADE)) for _ in range(2))
    with (
        proxied_broker(network, option) as place,
        running(receiver.host, serve_p2p, echo, "alice", place),
    ):
        run(sender.host, meet, place, techniques, kind)


def test_peers_behind_nats_meet_in_tls(kernel_network: KernelNetwork, tmp_path: Path) -> None:
    network = kernel_network
    receiver, sender = (network.add_site(Nat(NatKind.MASQUERADE)) for _ in range(2))
    files = Authority(tmp_path).issue("broker.example.org")
    pin = files.pin()
    assert pin is not None
    with proxied_broker(network, "send-proxy-v2", files) as proxied:
        place = f"tls://{proxied}#sha256={pin.hex()}"
        with running(receiver.host, serve_p2p, echo, "alice", place):
            run(sender.host, meet, place, ["fast"], PathKind.DIRECT)
            run(sender.host, meet, place, ["relay"], PathKind.RELAY)
