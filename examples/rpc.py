"""Remote procedure calls, with a stream for each request.

python rpc.py serve UID BROKER
python rpc.py call UID BROKER TEXT...
"""

import json
import sys
from typing import Any

import trio

import trio_p2p

MAX_BYTES = 65_536  # of a request: a longer one is refused


async def receive_json(stream: trio_p2p.P2PStream) -> Any:
    """Receive a value that fills one direction of a stream."""
    data = bytearray()
    async for chunk in stream:
        data += chunk
        if len(data) > MAX_BYTES:
            raise ValueError("too long")
    return json.loads(data)


async def answer(stream: trio_p2p.P2PStream) -> None:
    """Handle one request. The answer ends when this returns."""
    try:
        text = await receive_json(stream)
        reply = {"result": text.upper()} if isinstance(text, str) else {"error": "not a text"}
    except (ValueError, RecursionError) as error:
        reply = {"error": str(error)}
    await stream.send_all(json.dumps(reply).encode())


async def call(peer: trio_p2p.Peer, uid: str, text: str) -> None:
    """Ask, and print the answer. A deadline is the caller's, as everywhere in Trio."""
    with trio.fail_after(30):
        async with await peer.open_stream(uid, protocol="upper/1") as stream:
            await stream.send_all(json.dumps(text).encode())
            await stream.send_eof()
            print(text, await receive_json(stream))


async def main(what: str, uid: str, broker: str, texts: list[str]) -> None:
    async with trio_p2p.open_peer(broker) as peer:
        if what == "serve":
            await peer.serve(uid, answer, protocol="upper/1")
        async with trio.open_nursery() as nursery:
            for text in texts:  # all at once; they share one connection
                nursery.start_soon(call, peer, uid, text)


what, uid, broker, *texts = sys.argv[1:]
trio.run(main, what, uid, broker, texts)
