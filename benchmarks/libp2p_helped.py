"""The peers of ``libp2p_peers``, with a sender that starts DCUtR as soon as it is relayed."""

import trio
from libp2p.peer.id import ID

from .libp2p_peers import Peer, play_with


async def _start(peer: Peer, receiver: ID) -> None:
    # If the receiver was first, and is at it, nothing tells when it is through.
    while not await peer.dcutr.initiate_hole_punch(receiver):  # noqa: ASYNC110
        await trio.sleep(0.01)


if __name__ == "__main__":
    play_with(_start)
