"""A request that is tried again as long as that can help.

python retrying.py UID BROKER
"""

import random
import sys

import trio

import trio_p2p

PASSING = (
    trio.BrokenResourceError,  # the stream: its peer was restarted, or no path was found
    trio_p2p.BrokerLostError,
    trio_p2p.BrokerUnreachableError,
    trio_p2p.IntroductionError,
    trio_p2p.RelayError,
)


async def ask(peer: trio_p2p.Peer, uid: str, question: bytes) -> bytes:
    async with await peer.open_stream(uid, wait=True) as stream:
        await stream.send_all(question)
        await stream.send_eof()
        return b"".join([chunk async for chunk in stream])


async def ask_until_answered(peer: trio_p2p.Peer, uid: str, question: bytes) -> bytes:
    """Ask; again after pauses that grow. The question must do no harm when it is asked twice."""
    pause = 0.5
    while True:
        try:
            return await ask(peer, uid, question)
        except PASSING as error:
            if isinstance(error.__cause__, trio_p2p.NotAdmittedError):
                raise  # it will not change its mind
            print(f"trying again: {error}", file=sys.stderr, flush=True)
        await trio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, 30)


async def main(uid: str, broker: str) -> None:
    with trio.fail_after(120):
        async with trio_p2p.open_peer(broker) as peer:
            print((await ask_until_answered(peer, uid, b"are you well?")).decode())


uid, broker = sys.argv[1:]
trio.run(main, uid, broker)
