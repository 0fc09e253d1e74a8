"""Programs that are one peer for everything: what they hold, and what becomes of it."""

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from trio_p2p import P2PStream, Peer, Tracer, open_peer
from trio_p2p._broker.server import Broker
from trio_p2p._net.sockets import LISTEN_BACKLOG
from trio_p2p._net.system import current_system

from ..kit.busy_program import DIRECT, NAMES
from ..kit.loopback import GENEROUS, LIFETIME, LoopbackBroker, echo, open_broker, until

PEERS = 100
MEETINGS = 100
NAMED_PEERS = 50

LISTENING, ESTABLISHED = "0A", "01"  # as /proc/net/tcp shows it


def sockets_of(pid: int) -> list[tuple[str, str, int]]:
    """The version of IP, state and remote port of each TCP socket of a process."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            name = entry.readlink().name
            if name.startswith("socket:["):
                inodes.add(name[len("socket:[") : -1])
    found = []
    for version in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{version}").read_text().splitlines()[1:]:
            _, _, remote, state, *_, inode = line.split()[:10]
            if inode in inodes:
                found.append((version, state, int(remote.rpartition(":")[2], 16)))
    return found


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := await stream.receive_some(count - len(received))):
        received += data
    return received


@asynccontextmanager
async def open_dual_broker() -> AsyncGenerator[int]:
    """A broker on one port of both loopback addresses: which port."""
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            [first] = await current_system().open_listeners(0, "127.0.0.1", LISTEN_BACKLOG)
            port = first.socket.getsockname()[1]
            [second] = await current_system().open_listeners(port, "::1", LISTEN_BACKLOG)
            broker = Broker(limits=GENEROUS)
            await nursery.start(broker.serve_listeners, [first, second])
            yield port
            nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.once
async def test_one_connection_to_the_broker_for_two_names_and_a_hundred_streams() -> None:
    async with open_dual_broker() as port, AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        peer = await stack.enter_async_context(open_peer(("127.0.0.1", port), techniques=DIRECT))
        for number in range(PEERS):
            # Each peer of its own port, as programs on other hosts have it.
            other = await stack.enter_async_context(
                open_peer(("127.0.0.1", port), techniques=DIRECT)
            )
            await nursery.start(other.serve, f"peer {number}", echo)
        command = [sys.executable, "-m", "tests.kit.busy_program", str(port), str(PEERS)]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert await receive_exactly(process.stdout, len(b"ready\n")) == b"ready\n"
        for name in NAMES:
            async with await peer.open_stream(name) as stream:
                await stream.send_all(b"!")
                assert await stream.receive_some() == b"!"

        def counts() -> Counter[str]:
            return Counter(
                f"{version} {'listening' if state == LISTENING else 'to the broker'}"
                for version, state, remote in sockets_of(process.pid)
                if state == LISTENING or (state == ESTABLISHED and remote == port)
            )

        expected = {
            "tcp listening": 1,
            "tcp to the broker": 1,
            "tcp6 listening": 1,
            "tcp6 to the broker": 1,
        }
        await until(lambda: counts() == expected)
        await process.stdin.send_all(b"\n")
        assert await process.wait() == 0
        nursery.cancel_scope.cancel(reason="the test is over")


async def greet(peer: Peer, uid: str) -> None:
    async with await peer.open_stream(uid) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


@pytest.mark.once
@pytest.mark.parametrize("techniques", [DIRECT, ("fast", "classic", "relay")], ids=str)
async def test_peers_that_open_streams_to_each_other_at_the_same_moment(
    techniques: tuple[str, ...],
) -> None:
    async with open_broker() as broker:
        for _ in range(MEETINGS // 2):
            async with (
                open_peer(broker.address, techniques=techniques) as alice,
                open_peer(broker.address, techniques=techniques) as bob,
                trio.open_nursery() as serving,
            ):
                await serving.start(alice.serve, "alice", echo)
                await serving.start(bob.serve, "bob", echo)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(greet, alice, "bob")
                    nursery.start_soon(greet, bob, "alice")
                serving.cancel_scope.cancel(reason="both have got theirs")


class Registered(Tracer):
    """Counts registrations."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def registered(self, uid: str) -> None:
        self.counts[uid] += 1


@pytest.mark.once
async def test_broker_is_restarted_under_fifty_peers_with_three_names_each() -> None:
    async def keep_talking(stream: P2PStream) -> None:
        while True:
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"
            await trio.sleep(0.05)

    async def restart(broker: LoopbackBroker) -> None:
        await broker.kill()
        await broker.start()

    tracer = Registered()
    async with open_broker() as broker, AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        names = []
        peers = []
        for number in range(NAMED_PEERS):
            peer = await stack.enter_async_context(
                open_peer(broker.address, techniques=DIRECT, tracer=tracer)
            )
            peers.append(peer)
            for letter in "abc":
                names.append(f"{letter} of {number}")
                await nursery.start(peer.serve, names[-1], echo)
        streams = [await peers[0].open_stream(name) for name in names[3::3]]
        paths = [stream.path for stream in streams]
        talking = await stack.enter_async_context(trio.open_nursery())
        for stream in streams:
            talking.start_soon(keep_talking, stream)
        await restart(broker)
        await until(lambda: broker.uids == set(names))
        await until(lambda: all(count == 2 for count in tracer.counts.values()))
        assert [stream.path for stream in streams] == paths
        await greet(peers[1], names[0])
        talking.cancel_scope.cancel(reason="the test is over")
        nursery.cancel_scope.cancel(reason="the test is over")
