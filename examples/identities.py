"""A greeting between two peers that know each other: neither the broker nor a stranger gets in.

python identities.py show FILE
python identities.py receive FILE FRIEND BROKER
python identities.py send FILE FRIEND BROKER
"""

import sys
from pathlib import Path

import trio

import trio_p2p


def identity_of(file: str) -> trio_p2p.Identity:
    """Load the identity that the file holds; make one if there is no file."""
    if not Path(file).exists():
        trio_p2p.Identity.generate().save(file)
    return trio_p2p.Identity.load(file)


async def greet(stream: trio_p2p.P2PStream) -> None:
    await stream.send_all(f"hello {stream.peer_id}\n".encode())


async def receive(file: str, friend: str, broker: str) -> None:
    identity = identity_of(file)
    async with trio_p2p.open_peer(broker, identity=identity) as peer:
        await peer.serve(peer.peer_id, greet, admit={trio_p2p.PeerId.parse(friend)}.__contains__)


async def send(file: str, friend: str, broker: str) -> None:
    async with (
        trio_p2p.open_peer(broker, identity=identity_of(file)) as peer,
        await peer.open_stream(friend, wait=True) as stream,
    ):
        async for chunk in stream:
            print(chunk.decode(), end="")


match sys.argv[1:]:
    case ["show", file]:
        print(identity_of(file).peer_id)
    case ["receive", file, friend, broker]:
        trio.run(receive, file, friend, broker)
    case ["send", file, friend, broker]:
        trio.run(send, file, friend, broker)
    case _:
        sys.exit(__doc__)
