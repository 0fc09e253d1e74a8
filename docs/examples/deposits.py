"""An application with a bug: an account, and what makes deposits to it."""

import trio

from trio_p2p import P2PStream, Peer


class Account:
    """Takes deposits, each on a stream of its own."""

    def __init__(self) -> None:
        self.balance = 0

    async def take(self, stream: P2PStream) -> None:
        """Take one deposit, and confirm it."""
        order = b"".join([bytes(piece) async for piece in stream])
        self.balance += int(order)
        await stream.send_all(b"done")


async def deposit(peer: Peer, amount: int) -> None:
    """Make a deposit, and try again until it is confirmed."""
    while True:
        with trio.move_on_after(2):
            async with await peer.open_stream("account") as stream:
                await stream.send_all(str(amount).encode())
                await stream.send_eof()
                if await stream.receive_some() == b"done":
                    return
