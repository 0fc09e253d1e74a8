"""Which way a stream goes, what was tried, and how fast it answers.

python paths.py UID BROKER
"""

import logging
import sys

import trio

import trio_p2p


class PathPrinter(trio_p2p.Tracer):
    """Prints what a peer is told of."""

    def attempt_ended(self, uid: str, attempt: trio_p2p.Attempt) -> None:
        print(f"tried: {attempt}", flush=True)

    def path_changed(
        self, connection: trio_p2p.P2PConnection, path: trio_p2p.StreamPath | None
    ) -> None:
        print(f"path: {path}", flush=True)


async def main(uid: str, broker: str) -> None:
    logging.basicConfig(level=logging.INFO)  # the package's logger is "trio_p2p"
    async with (
        trio_p2p.open_peer(broker, tracer=PathPrinter()) as peer,
        await peer.connect(uid) as connection,
    ):
        path = connection.path
        with trio.move_on_after(10):
            while path is None or path.kind is not trio_p2p.PathKind.DIRECT:
                path = await connection.wait_path_changed(path)
        print("direct" if path and path.kind is trio_p2p.PathKind.DIRECT else "relayed")


uid, broker = sys.argv[1:]
trio.run(main, uid, broker)
