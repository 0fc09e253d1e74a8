"""Who is there: prints when each friend comes, and when each has gone.

python presence.py FILE BROKER FRIEND...

FILE holds this side's identity (see identities.py), each FRIEND is a peer id.
"""

import sys
from functools import partial

import trio

import trio_p2p


async def wait_until_gone(stream: trio_p2p.P2PStream) -> None:
    """Hold a stream open as long as this program runs."""
    async for _ in stream:
        pass


async def follow(peer: trio_p2p.Peer, friend: str) -> None:
    """Hold a stream to a friend: it breaks when the friend has gone."""
    while True:
        try:
            async with await peer.open_stream(friend, protocol="presence/1", wait=True) as stream:
                print(f"{friend} is here", flush=True)
                await stream.receive_some()
        except (trio.BrokenResourceError, trio_p2p.P2PError):
            print(f"{friend} has gone", flush=True)


async def main(file: str, broker: str, friends: list[str]) -> None:
    identity = trio_p2p.Identity.load(file)
    # A friend whose host has lost its power is gone after the grace time.
    async with (
        trio_p2p.open_peer(broker, identity=identity, grace=20) as peer,
        trio.open_nursery() as nursery,
    ):
        serve = partial(peer.serve, peer.peer_id, wait_until_gone, protocol="presence/1")
        await nursery.start(serve)
        for friend in friends:
            nursery.start_soon(follow, peer, friend)


file, broker, *friends = sys.argv[1:]
trio.run(main, file, broker, friends)
