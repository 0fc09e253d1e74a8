"""A chat that survives: other networks, lost brokers, and a restart of either side.

python chat.py FILE FRIEND BROKER

FILE holds this side's identity (see identities.py), FRIEND is the other side's peer id.
"""

import sys
from functools import partial

import trio

import trio_p2p

MAX_LINE = 4_096  # bytes


async def show(stream: trio_p2p.P2PStream) -> None:
    """Print the line that a stream brings, and say that it is printed."""
    line = bytearray()
    async for chunk in stream:
        line += chunk
        if len(line) > MAX_LINE:
            stream.abort("the line is too long")
            return
    text = "".join(filter(str.isprintable, line.decode(errors="replace")))
    print(f"< {text}", flush=True)
    await stream.send_all(b"shown")


async def deliver(peer: trio_p2p.Peer, friend: str, line: str) -> None:
    """Send a line until the friend has said that it was shown."""
    while True:
        try:
            async with await peer.open_stream(friend, wait=True) as stream:
                await stream.send_all(line.encode())
                await stream.send_eof()
                if b"".join([chunk async for chunk in stream]) == b"shown":
                    return
        except (trio.BrokenResourceError, trio_p2p.P2PError) as error:
            print(f"! not delivered yet: {error.__cause__ or error}", flush=True)
            await trio.sleep(1)


async def main(file: str, friend: str, broker: str) -> None:
    identity = trio_p2p.Identity.load(file)
    admit = {trio_p2p.PeerId.parse(friend)}.__contains__
    with trio.CancelScope() as chat:
        async with trio_p2p.open_peer(broker, identity=identity) as peer, trio.open_nursery() as n:
            listener = await n.start(partial(peer.serve, peer.peer_id, show, admit=admit))
            while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
                await deliver(peer, friend, line.rstrip("\n"))
            await listener.drain()
            chat.cancel()  # all lines were shown: nothing is left to deliver


file, friend, broker = sys.argv[1:]
trio.run(main, file, friend, broker)
