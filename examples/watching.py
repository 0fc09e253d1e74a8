"""Prints a line whenever a receiver registers under a UID.

python watching.py UID BROKER
"""

import sys

import trio

import trio_p2p


async def main(uid: str, broker: str) -> None:
    async with trio_p2p.open_peer(broker) as peer, peer.watch(uid) as registrations:
        print("watching", flush=True)
        async for _ in registrations:
            print(f"{uid} has registered", flush=True)


uid, broker = sys.argv[1:]
trio.run(main, uid, broker)
