"""TLS with what is no broker: every end is a sentence, in bounded time."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_p2p import BrokerUnreachableError, open_peer, serve_broker
from trio_p2p._broker_client.connection import BrokerConnection
from trio_p2p._broker_client.finder import BrokerFinder
from trio_p2p._broker_client.place import BrokerPlace
from trio_p2p._broker_client.tls import BrokerTLS

from ..kit.certificates import Authority
from ..kit.loopback import HOST, LIFETIME


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def say_garbage(stream: trio.SocketStream) -> None:
    await stream.send_all(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    async for _ in stream:
        pass


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (say_nothing, "no trio-p2p broker answers in TLS at .* within 0.1 seconds"),
        (hang_up, "no trio-p2p broker speaks TLS at"),
        (say_garbage, "no trio-p2p broker speaks TLS at .*WRONG_VERSION_NUMBER.* leave tls:// out"),
    ],
)
async def test_what_does_not_speak_tls(
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_p2p._broker_client.tls.HANDSHAKE_TIME", 0.1)
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, handler, 0)
            port = listeners[0].socket.getsockname()[1]
            async with open_peer(f"tls://{HOST}:{port}") as peer:
                with pytest.raises(BrokerUnreachableError, match=sentence):
                    await peer.open_stream("alice")
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_sessions_are_resumed_once_each(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("elsewhere.example.org")
    pin = files.pin()
    assert pin is not None
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_broker, 0, host=HOST, tls=files)
            [listener] = await nursery.start(serve)
            port = listener.socket.getsockname()[1]
            place = BrokerPlace(HOST, port, is_encrypted=True, pin=pin)
            finder = BrokerFinder([place], tls_for=lambda each: BrokerTLS(each, nursery))

            async def connect() -> BrokerConnection:
                connection = await finder.find(())
                await connection.greet()
                return connection

            def is_resumed(connection: BrokerConnection) -> bool:
                stream = connection._channel.stream
                assert isinstance(stream, trio.SSLStream)
                return bool(stream.session_reused)

            async with await connect() as first, await connect() as second:
                assert [is_resumed(each) for each in (first, second)] == [False, True]
            one, other = await finder.find(()), await finder.find(())
            async with one, other:
                assert [is_resumed(each) for each in (one, other)] == [True, False]
            nursery.cancel_scope.cancel(reason="the test is over")
