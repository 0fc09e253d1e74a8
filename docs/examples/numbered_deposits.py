"""The same without the bug: each deposit has a number, so that it is made once."""

import itertools

import trio

from trio_p2p import P2PStream, Peer

numbers = itertools.count()


class Account:
    """Takes deposits, each on a stream of its own."""

    def __init__(self) -> None:
        self.balance = 0
        self._known: set[str] = set()

    async def take(self, stream: P2PStream) -> None:
        """Take one deposit, unless it has been taken, and confirm it."""
        order = b"".join([bytes(piece) async for piece in stream])
        amount, number = order.decode().split()
        if number not in self._known:
            self._known.add(number)
            self.balance += int(amount)
        await stream.send_all(b"done")


async def deposit(peer: Peer, amount: int) -> None:
    """Make a deposit, and try again until it is confirmed."""
    number = next(numbers)
    while True:
        with trio.move_on_after(2):
            async with await peer.open_stream("account") as stream:
                await stream.send_all(f"{amount} {number}".encode())
                await stream.send_eof()
                if await stream.receive_some() == b"done":
                    return
