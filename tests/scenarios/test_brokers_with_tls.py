"""Peers and a broker that speaks TLS: all kinds of paths, and what goes wrong."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from trio_p2p import (
    BrokerUnreachableError,
    LocalProtocolError,
    PathKind,
    open_peer,
    serve_broker,
)
from trio_p2p._addresses import endpoint_of
from trio_p2p._broker.drain import drain
from trio_p2p._broker.serve import open_broker
from trio_p2p._broker.server import Broker
from trio_p2p._broker.tls import BrokerTLS
from trio_p2p._wire.messages import Draining, Hello, Observed, Probe, RefusalCode

from ..kit.certificates import Authority
from ..kit.loopback import HOST, LIFETIME, until
from ..kit.raw_client import RawClient, registration

pytestmark = pytest.mark.once


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@asynccontextmanager
async def running(tls: BrokerTLS | None = None) -> AsyncGenerator[int]:
    """The port of a broker."""
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
                await serve_broker(0, host=HOST, tls=tls, probe_port=0, task_status=task_status)

            listener, _ = await nursery.start(serve)
            yield listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel(reason="the test is over")


async def echo(stream: trio.abc.HalfCloseableStream) -> None:
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()


WAYS = [["fast"], ["classic"], ["relay"], ["fast", "classic", "relay"]]


@pytest.mark.parametrize("techniques", WAYS, ids="+".join)
@pytest.mark.parametrize("is_pinned", [False, True], ids=["trusted", "pinned"])
async def test_peers_meet(authority: Authority, techniques: list[str], *, is_pinned: bool) -> None:
    files = authority.issue(*(["elsewhere.example.org"] if is_pinned else [HOST]))
    pin = files.pin()
    assert pin is not None
    suffix = f"#sha256={pin.hex()}" if is_pinned else ""
    data = bytes(range(256)) * 8192
    async with running(BrokerTLS(files)) as port:
        place = f"tls://{HOST}:{port}{suffix}"
        async with (
            open_peer(place, techniques=techniques) as callee,
            open_peer(place, techniques=techniques) as caller,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(callee.serve, "alice", echo)
            async with await caller.open_stream("alice") as stream:
                kind = PathKind.RELAY if techniques == ["relay"] else PathKind.DIRECT
                while (path := stream.path) is None or path.kind is not kind:
                    await stream.wait_path_changed(path)
                assert path.remote.port == port or kind is PathKind.DIRECT
                received = bytearray()

                async def receive() -> None:
                    async for piece in stream:
                        received.extend(piece)

                async with trio.open_nursery() as both:
                    both.start_soon(receive)
                    await stream.send_all(data)
                    await stream.send_eof()
                assert received == data
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_plain_client_is_told_to_speak_tls(authority: Authority) -> None:
    async with running(BrokerTLS(authority.issue(HOST))) as port, open_peer((HOST, port)) as peer:
        with pytest.raises(LocalProtocolError, match="put tls:// in front of its address"):
            async with peer.listen("alice"):
                pytest.fail("it listens")
        with pytest.raises(LocalProtocolError, match="put tls:// in front of its address"):
            await peer.open_stream("alice")


async def test_a_client_with_tls_is_told_to_leave_it_out(authority: Authority) -> None:
    async with running() as port, open_peer(f"tls://{HOST}:{port}") as peer:
        with pytest.raises(BrokerUnreachableError, match="leave tls:// out if it was not"):
            await peer.open_stream("alice")


async def test_another_name_is_not_trusted(authority: Authority) -> None:
    async with (
        running(BrokerTLS(authority.issue("elsewhere.example.org"))) as port,
        open_peer(f"tls://{HOST}:{port}") as peer,
    ):
        with pytest.raises(BrokerUnreachableError, match=f"does not prove that it is {HOST}"):
            await peer.open_stream("alice")


async def test_another_key_is_not_trusted(authority: Authority) -> None:
    async with (
        running(BrokerTLS(authority.issue(HOST))) as port,
        open_peer(f"tls://{HOST}:{port}#sha256={'00' * 32}") as peer,
    ):
        with pytest.raises(BrokerUnreachableError, match="has another key than the pinned"):
            await peer.open_stream("alice")


async def test_an_unknown_authority_is_not_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    async with (
        running(BrokerTLS(authority.issue(HOST))) as port,
        open_peer(f"tls://{HOST}:{port}") as peer,
    ):
        with pytest.raises(BrokerUnreachableError, match="or pin its key with #sha256="):
            await peer.open_stream("alice")


async def test_the_certificate_is_replaced_and_drops_no_one(authority: Authority) -> None:
    first, second = (authority.issue(HOST, name=name) for name in ("first", "second"))
    pins = [files.pin() for files in (first, second)]
    assert None not in pins
    tls = BrokerTLS(first)
    async with running(tls) as port:
        places = [f"tls://{HOST}:{port}#sha256={pin.hex()}" for pin in pins if pin]
        async with open_peer(places[0]) as callee, callee.listen("alice"):
            tls.reload(second)
            async with open_peer(places[1]) as caller:
                await (await caller.connect("alice")).aclose()
            assert callee.statistics().names == {"alice"}
            (control,) = (each for each in callee._controls if each.link is not None)
            assert control.link is not None


async def test_probes_need_no_tls(authority: Authority) -> None:
    async with running(BrokerTLS(authority.issue(HOST))) as port:
        async with RawClient(await trio.open_tcp_stream(HOST, port)) as client:
            challenge = await client.greet()
            assert isinstance(client.stream, trio.SocketStream)
            await client.send(Probe())
            observed = await client.receive(Observed)
            assert observed.endpoint == endpoint_of(client.stream.socket.getsockname())
        async with RawClient(await trio.open_tcp_stream(HOST, port)) as client:
            challenge = await client.greet()
            await client.send(registration("alice", challenge))
            assert (await client.wait_refused()).code is RefusalCode.PROTOCOL_VIOLATION


async def test_garbage_instead_of_a_handshake_ends_one_connection_only(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context()
    async with running(BrokerTLS(authority.issue(HOST))) as port:
        for garbage in (b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 20_000):
            stream = await trio.open_tcp_stream(HOST, port)
            await stream.send_all(garbage)
            await stream.send_eof()
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
            await stream.aclose()
        transport = await trio.open_tcp_stream(HOST, port)
        encrypted = trio.SSLStream(transport, context, server_hostname=HOST)
        async with RawClient(encrypted) as client:
            await client.send(Hello())
            await client.receive(Hello)
    assert not [record for record in caplog.records if record.exc_info]


async def test_clients_that_are_sent_elsewhere_speak_tls_there(authority: Authority) -> None:
    tls = BrokerTLS(authority.issue(HOST))
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            brokers: list[Broker] = []
            places: list[str] = []
            for _ in range(2):
                broker, listeners = await open_broker(0, host=HOST, tls=tls)
                nursery.start_soon(broker.serve_listeners, listeners)
                brokers.append(broker)
                places.append(f"tls://{HOST}:{listeners[0].socket.getsockname()[1]}")
            async with open_peer(places[0]) as peer, peer.listen("alice"):
                notice = Draining(5000, (places[1],))
                nursery.start_soon(drain, brokers[0], notice, 5.0)
                await until(lambda: brokers[1].registry.uids == {"alice"})
            nursery.cancel_scope.cancel(reason="the test is over")
