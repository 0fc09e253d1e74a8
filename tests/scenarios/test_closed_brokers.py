"""Peers and a closed broker: with tokens, by lists, and refused."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from trio_p2p import (
    AccessDeniedError,
    AccessFiles,
    Identity,
    P2PError,
    Tracer,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
    serve_broker,
    serve_p2p,
)
from trio_p2p._identity.access_token import (
    AccessToken,
    Use,
    parse_token,
    read_token_untrusted,
    token_text,
)
from trio_p2p._net.calendar import unix_time

from ..kit.loopback import HOST, LIFETIME

pytestmark = pytest.mark.once


class Operator:
    """One who runs a closed broker, and writes its files."""

    def __init__(self, directory: Path) -> None:
        self.key = Identity.generate()
        self.key.save(directory / "key.pem")
        self.allow, self.revoked = directory / "allow", directory / "revoked"
        self.allow.write_text("")
        self.revoked.write_text("")
        self.files = AccessFiles(
            is_closed=True,
            token_keys=(directory / "key.pem",),
            allow=self.allow,
            revoked=self.revoked,
        )

    def token(self, *uses: Use, peer: Identity | None = None) -> str:
        expires_at = int(unix_time()) + 3600
        peer_id = None if peer is None else peer.peer_id
        said = AccessToken(secrets.token_bytes(8), frozenset(uses or Use), expires_at, peer_id)
        return token_text(said.sign(self.key.private_key))


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@asynccontextmanager
async def running(operator: Operator) -> AsyncGenerator[tuple[str, int]]:
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
                await serve_broker(0, host=HOST, access=operator.files, task_status=task_status)

            (listener,) = await nursery.start(serve)
            yield listener.socket.getsockname()
            nursery.cancel_scope.cancel(reason="the test is over")


async def echo(stream: trio.abc.Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def check_echo(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"hello")
    assert await stream.receive_some(5) == b"hello"


WAYS = [["fast"], ["classic"], ["relay"], ["fast", "classic", "relay"]]


@pytest.mark.parametrize("techniques", WAYS, ids="+".join)
@pytest.mark.parametrize("kind", ["token", "bound token", "list"])
async def test_peers_that_are_admitted_meet(
    operator: Operator, techniques: list[str], kind: str
) -> None:
    receiver, sender = Identity.generate(), Identity.generate()
    tokens: list[str | None] = [None, None]
    if kind == "list":
        operator.allow.write_text(f"{receiver.peer_id}\n{sender.peer_id}\n")
    else:
        is_bound = kind == "bound token"
        tokens = [operator.token(peer=one if is_bound else None) for one in (receiver, sender)]
    async with (
        running(operator) as broker,
        open_peer(broker, identity=receiver, token=tokens[0], techniques=techniques) as callee,
        open_peer(broker, identity=sender, token=tokens[1], techniques=techniques) as caller,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(callee.serve, "alice", echo)
        for _ in range(2):
            connection = await caller.connect("alice")
            async with await connection.open_stream() as stream:
                await check_echo(stream)
            await connection.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_functions_for_one_purpose_take_a_token(operator: Operator) -> None:
    async with running(operator) as broker, trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_p2p(
                echo, "alice", broker, token=operator.token(), task_status=task_status
            )
        )
        async with open_p2p_stream("alice", broker, token=operator.token()) as stream:
            await check_echo(stream)
        async with open_p2p_listener("bob", broker, token=operator.token()) as listener:
            assert listener.uid == "bob"
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_stranger_is_refused_at_once(operator: Operator) -> None:
    async with running(operator) as broker, open_peer(broker) as stranger:
        sentence = "does not admit this program: this broker is closed: ask its operator"
        with pytest.raises(AccessDeniedError, match=sentence):
            async with stranger.listen("alice"):
                pytest.fail("it listens")
        for wait in (False, True):
            with pytest.raises(AccessDeniedError, match=sentence):
                await stranger.open_stream("alice", wait=wait)
        with pytest.raises(AccessDeniedError, match=sentence):
            await stranger.open_raw_stream("alice")


@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_a_token_for_one_kind_of_path(operator: Operator, path: str) -> None:
    use = Use.ASK if path == "direct" else Use.RELAY
    other = "relay" if path == "direct" else "direct"
    async with (
        running(operator) as broker,
        open_peer(broker, token=operator.token()) as callee,
        open_peer(broker, token=operator.token(use)) as caller,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(callee.serve, "alice", echo)
        with pytest.raises(AccessDeniedError, match="this access token is not one to"):
            await caller.connect("alice", path=other)
        await (await caller.connect("alice", path=path)).aclose()
        async with await caller.open_stream("alice") as stream:
            await check_echo(stream)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_forged_token_is_refused_and_not_tried_for_ever(operator: Operator) -> None:
    operator.key = Identity.generate()  # which the broker does not know

    class Counting(Tracer):
        lost = 0

        def broker_lost(self, error: P2PError) -> None:  # noqa: ARG002 - as inherited
            self.lost += 1

    tracer = Counting()
    async with (
        running(operator) as broker,
        open_peer(broker, token=operator.token(), tracer=tracer) as peer,
    ):
        for _ in range(3):
            with pytest.raises(AccessDeniedError, match="has signed this access token"):
                async with peer.listen("alice"):
                    pytest.fail("it listens")
        (control,) = peer._controls
        failures = control._failures
        async with peer.watch("alice"):  # which needs the broker, and would have it for ever
            for _ in range(200):
                await trio.sleep(0.005)
                assert control._failures <= failures + 1
        assert tracer.lost == 0


async def test_a_revoked_token_ends_the_listener_with_the_next_keepalive(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._broker_client.connection.KEEPALIVE_TIME", 0.05)
    monkeypatch.setattr("trio_p2p._broker.access.LOOKING_TIME", 0.05)
    token = operator.token()
    identity = Identity.generate()
    async with (
        running(operator) as broker,
        open_peer(broker, token=token, identity=identity) as callee,
        open_peer(broker, token=operator.token()) as caller,
        callee.listen("alice") as listener,
    ):
        stream = await caller.open_stream("alice")
        accepted = await listener.accept()
        identifier = read_token_untrusted(parse_token(token)).identifier
        operator.revoked.write_text(f"{identifier.hex()}\n")
        with pytest.raises(AccessDeniedError, match="was revoked"):
            await listener.accept()
        await stream.send_all(b"still")  # what was accepted lives on
        assert await accepted.receive_some(5) == b"still"
