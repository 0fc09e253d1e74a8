"""A server that finishes what it has begun when it is told to stop (SIGTERM).

python draining.py UID BROKER
"""

import signal
import sys

import trio

import trio_p2p


async def handle(stream: trio_p2p.P2PStream) -> None:
    """Echo. Takes as long as the sender wants."""
    async for chunk in stream:
        await stream.send_all(chunk)


async def main(uid: str, broker: str) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio_p2p.open_peer(broker) as peer, trio.open_nursery() as nursery:
            listener = await nursery.start(peer.serve, uid, handle)
            print("ready", flush=True)
            async for _ in signals:
                break
            print("draining", flush=True)
            with trio.move_on_after(300) as patience:
                await listener.drain()
            print("gave up" if patience.cancelled_caught else "all is done", flush=True)
            nursery.cancel_scope.cancel(reason="the server stops")


uid, broker = sys.argv[1:]
trio.run(main, uid, broker)
