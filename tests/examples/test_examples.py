"""Each program of ``examples/`` does what the documentation says of it."""

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_p2p import Identity, P2PStream, PeerId, open_p2p_stream, open_peer, serve_p2p

from ..kit.example import FOLDER, Program, open_example, run_example
from ..kit.loopback import (
    HOST,
    PATIENCE,
    LoopbackBroker,
    echo,
    is_listening,
    open_broker,
    open_listener,
    reserved_port,
    until,
)

LINES = 60

pytestmark = [pytest.mark.once, pytest.mark.slow]


def test_examples_are_short_and_each_is_tried() -> None:
    this_file = Path(__file__).read_text()
    for path in FOLDER.glob("*.py"):
        assert len(path.read_text().splitlines()) <= LINES, path
        assert f'"{path.stem}"' in this_file, path


@asynccontextmanager
async def open_server(
    broker: LoopbackBroker, uid: str, name: str, *arguments: str
) -> AsyncGenerator[Program]:
    """An example that has registered a UID."""
    async with open_example(name, *arguments) as program:
        await until(lambda: uid in broker.uids or program.process.returncode is not None)
        assert uid in broker.uids, program.lines
        yield program


def place(broker: LoopbackBroker) -> str:
    return f"{HOST}:{broker.port}"


async def test_hello() -> None:
    async with (
        open_broker() as broker,
        open_server(broker, "my-uid", "hello", "receive", "my-uid", place(broker)),
    ):
        printed = await run_example("hello", "send", "my-uid", place(broker))
    assert printed == "hello through two NATs\n"


async def test_identities(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.pem") for name in ("alice", "bob", "eve")]
    alice, bob, _ = [(await run_example("identities", "show", file)).strip() for file in files]
    assert alice == str(Identity.load(files[0]).peer_id)
    async with open_broker() as broker:
        arguments = ("receive", files[0], bob, place(broker))
        async with open_server(broker, alice, "identities", *arguments):
            printed = await run_example("identities", "send", files[1], alice, place(broker))
            assert printed == f"hello {bob}\n"
            async with open_example(
                "identities", "send", files[2], alice, place(broker)
            ) as program:
                assert await program.wait_ended() == 1
                await program.wait_for("does not admit")


async def test_chat_survives_its_broker_and_a_restart(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.pem") for name in ("alice", "bob")]
    alice, bob = (str(new_identity(file)) for file in files)
    async with (
        open_broker() as broker,
        open_example("chat", files[0], bob, place(broker)) as one,
    ):
        await one.type_line("is bob there?")  # he is not
        async with open_example("chat", files[1], alice, place(broker)) as other:
            await other.wait_for("< is bob there?")
            await other.type_line("yes")
            await one.wait_for("< yes")
            await broker.kill()
            await broker.start()
            await one.type_line("the broker was away")
            await other.wait_for("< the broker was away")
        await one.type_line("bob was away")
        async with open_example("chat", files[1], alice, place(broker)) as other:
            await other.wait_for("< bob was away")
            await one.end_input()
            assert await one.wait_ended() == 0


def new_identity(file: str) -> PeerId:
    identity = Identity.generate()
    identity.save(file)
    return identity.peer_id


async def ask(broker: LoopbackBroker, uid: str, data: bytes, protocol: str = "") -> bytes:
    """What a server answers to some bytes."""
    async with (
        open_peer(broker.address) as peer,
        await peer.open_stream(uid, protocol=protocol) as stream,
    ):
        await stream.send_all(data)
        await stream.send_eof()
        return b"".join([chunk async for chunk in stream])


async def test_rpc() -> None:
    async with (
        open_broker() as broker,
        open_server(broker, "upper", "rpc", "serve", "upper", place(broker)),
    ):
        for hostile in (b"[" * 60_000, b"7", b"{", b"x" * 70_000):
            reply = json.loads(await ask(broker, "upper", hostile, "upper/1"))
            assert list(reply) == ["error"]
        printed = await run_example("rpc", "call", "upper", place(broker), "one", "two")
    assert sorted(printed.splitlines()) == ["one {'result': 'ONE'}", "two {'result': 'TWO'}"]


async def test_http() -> None:
    async with (
        open_broker() as broker,
        open_server(broker, "web", "http_server", "web", place(broker)),
        open_server(broker, "asgi", "asgi_server", "asgi", place(broker)),
    ):
        answer = await ask(
            broker, "web", b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        with pytest.raises(trio.BrokenResourceError):
            await ask(broker, "web", b"nonsense\r\n\r\n")
        urls = ("http://web/one", "http://web/two", "http://asgi/three")
        one, two, three = (await run_example("http_client", place(broker), *urls)).splitlines()
    assert one.startswith("200 p2p")
    assert one.endswith(" asked for /one")
    assert two.endswith(" asked for /two")
    assert three == "200 this is /three"


async def test_expose() -> None:
    async with open_broker() as broker, trio.open_nursery() as services:
        nursery = await services.start(run_nursery)
        [service] = await nursery.start(partial(trio.serve_tcp, echo, 0, host=HOST))
        port = str(service.socket.getsockname()[1])
        exposed = ("expose", "service", place(broker), port)
        async with open_server(broker, "service", "expose", *exposed) as exposer:
            forwarded = ("forward", "service", place(broker), "0")
            async with open_example("expose", *forwarded) as forwarder:
                line = await forwarder.wait_for("listening on port ")
                for _ in range(2):
                    async with await trio.open_tcp_stream(HOST, int(line.split()[-1])) as stream:
                        await stream.send_all(b"through")
                        await stream.send_eof()
                        assert b"".join([chunk async for chunk in stream]) == b"through"
                nursery.cancel_scope.cancel(reason="the service ends")
                await until(lambda: not is_listening(int(port)))
                async with await trio.open_tcp_stream(HOST, int(line.split()[-1])) as stream:
                    with suppress(trio.BrokenResourceError):
                        assert not await stream.receive_some()
                await forwarder.wait_for("a connection was cut")
            assert exposer.process.returncode is None


async def test_presence(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.pem") for name in ("alice", "bob")]
    alice, bob = (str(new_identity(file)) for file in files)
    async with (
        open_broker() as broker,
        open_example("presence", files[0], place(broker), bob) as one,
    ):
        async with open_example("presence", files[1], place(broker), alice) as other:
            await one.wait_for(f"{bob} is here")
            await other.wait_for(f"{alice} is here")
            other.process.send_signal(signal.SIGINT)
            await one.wait_for(f"{bob} has gone")
        async with open_example("presence", files[1], place(broker)):
            await one.wait_for(f"{bob} is here", count=2)


async def test_watching() -> None:
    async with open_broker() as broker, open_example("watching", "bob", place(broker)) as program:
        await program.wait_for("watching")
        with trio.fail_after(PATIENCE):
            while "bob has registered" not in program.lines:  # the broker may not know of it yet
                async with open_listener("bob", broker.address):
                    await trio.sleep(0.05)


async def test_draining() -> None:
    async with (
        open_broker() as broker,
        open_server(broker, "server", "draining", "server", place(broker)) as server,
        open_peer(broker.address) as peer,
    ):
        async with await peer.open_stream("server") as stream:
            await stream.send_all(b"begun")
            assert await stream.receive_some() == b"begun"
            server.process.terminate()
            await server.wait_for("draining")
            async with await peer.open_stream("server") as refused:
                with pytest.raises(trio.BrokenResourceError):
                    await refused.receive_some()
                refused.abort("refused")
            await stream.send_all(b"finished")
            assert await stream.receive_some() == b"finished"
        assert await server.wait_ended() == 0
        await server.wait_for("all is done")


async def test_retrying() -> None:
    handled = 0

    async def answer_the_third_time(stream: P2PStream) -> None:
        nonlocal handled
        handled += 1
        if handled < 3:
            stream.abort("not yet")
        else:
            await stream.send_all(b"yes")

    async with open_broker() as broker, trio.open_nursery() as nursery:
        async with open_example("retrying", "patient", place(broker)) as program:
            await nursery.start(serve_p2p, answer_the_third_time, "patient", broker.address)
            assert await program.wait_ended() == 0
            await program.wait_for("trying again", count=2)
            await program.wait_for("yes")
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_paths() -> None:
    async with (
        open_broker() as broker,
        open_listener("receiver", broker.address),
        open_example("paths", "receiver", place(broker)) as program,
    ):
        assert await program.wait_ended() == 0
        await program.wait_for("tried: ")
        await program.wait_for("path: direct")
        await program.wait_for("direct")


async def test_broker() -> None:
    async with open_example("broker", "0") as program:
        line = await program.wait_for("listening on port ")
        broker = (HOST, int(line.split()[-1]))
        async with open_listener("receiver", broker), open_p2p_stream("receiver", broker) as stream:
            assert stream.uid == ""


async def test_migrated_program_does_what_the_older_one_does() -> None:
    async with open_broker() as broker:
        async with open_server(broker, "echo", "echo_p2p", "serve", "echo", place(broker)):
            new = await run_example("echo_p2p", "ask", "echo", place(broker))
        with reserved_port() as port:
            async with open_example("echo_tcp", "serve", HOST, str(port)):
                await until(lambda: is_listening(port))
                old = await run_example("echo_tcp", "ask", HOST, str(port))
    assert new == old == "anyone there?\n"


async def run_nursery(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Run tasks that a test ends before it is over."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
