"""The two processes of a transfer: one gives a file, or as many bytes; the other one takes them."""

import sys
from functools import partial
from pathlib import Path

import trio

from trio_p2p import P2PStream, PeerId, open_peer
from trio_p2p._files.folder import Folder
from trio_p2p._files.given_tree import GivenTree
from trio_p2p._files.giving import give
from trio_p2p._files.taking import Taking
from trio_p2p._files.tally import Tally

from .stream_ways import DIRECT, KIB, open_receiving_peer

UID = "files"
FILE, STREAM = "file", "stream"
PIECE_BYTES = 256 * KIB


def main(role: str, *arguments: str) -> None:
    if role == "giver":
        path, host = arguments
        trio.run(_give, path, host)
    else:
        folder, host, port = arguments
        trio.run(_take, folder, host, port)


async def _give(path: str, host: str) -> None:
    """Print the broker's port, and give to each stream that is opened what its protocol names."""
    tree = GivenTree([Path(path)], lambda: None)
    async with open_receiving_peer(host) as (peer, port), trio.open_nursery() as nursery:

        async def give_file(stream: P2PStream) -> None:
            await give(stream, tree, Tally(), lambda: True)

        async def give_bytes(stream: P2PStream) -> None:
            piece = bytes(PIECE_BYTES)
            for _ in range(tree.listing.total // PIECE_BYTES):
                await stream.send_all(piece)

        for protocol, handler in ((FILE, give_file), (STREAM, give_bytes)):
            await nursery.start(partial(peer.serve, UID, handler, protocol=protocol))
        print(port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel(reason="the benchmark is over")


async def _take(folder: str, host: str, port: str) -> None:
    """Take once for each line, which names what; print a line when it is there."""
    async with open_peer((host, int(port)), techniques=DIRECT) as peer:
        connection = await peer.connect(UID)
        with Folder.at(Path(folder)) as target:
            while line := await trio.to_thread.run_sync(sys.stdin.readline):
                protocol = line.strip()
                async with await connection.open_stream(protocol=protocol, uid=UID) as stream:
                    if protocol == FILE:
                        await _take_file(stream, target, connection.peer_id)
                    else:
                        async for _ in stream:
                            pass
                print(flush=True)
                _empty(Path(folder))


def _empty(folder: Path) -> None:
    """Remove what was taken, so that its pages are freed now, and not in the next round."""
    for path in folder.iterdir():
        path.unlink()


async def _take_file(stream: P2PStream, target: Folder, peer_id: PeerId) -> None:
    taking = Taking(stream, peer_id, target)
    listing = await taking.receive_offer()
    failures = await taking.take(listing, await taking.survey(listing), Tally())
    if failures:
        raise RuntimeError(failures[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
