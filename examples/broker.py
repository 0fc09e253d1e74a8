"""A broker inside a program, with limits of its own.

python broker.py PORT
"""

import sys
from functools import partial

import trio

import trio_p2p


async def main(port: int) -> None:
    limits = trio_p2p.BrokerLimits(registrations=200)
    relay = trio_p2p.RelayLimits(bytes_per_second=1_000_000)
    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(
            partial(trio_p2p.serve_broker, port, limits=limits, relay=relay)
        )
        print(f"listening on port {listener.socket.getsockname()[1]}", flush=True)


trio.run(main, int(sys.argv[1]))
