"""The attackers of a broker, or of a sink: a process that floods, or follows a scheme.

Each line of its input begins a wave: it says on how many connections, 0 where the scheme decides,
and is answered by a line when that has begun. The process ends when its input does. It does the
same whatever listens: what is closed is opened again, and what comes is read and thrown away.
"""

import select
import sys

import trio

from . import clients
from .attack_floods import FLOODS, flood
from .attack_networks import Network
from .attack_schemes import SCHEMES, Attacker

_SWEEP_TIME = 0.001  # seconds between two rounds over all connections
_DESCRIPTORS = 2000

ATTACKS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(SCHEMES, (0,)),
    **{kind: each.connections for kind, each in FLOODS.items()},
}
"""The waves of each kind of attack."""


def network_of(kind: str) -> Network:
    """Where an attack of some kind takes place."""
    return SCHEMES[kind].network if kind in SCHEMES else FLOODS[kind].network


def _flood(kind: str, port: int) -> None:
    while line := sys.stdin.readline():
        for number, _ in enumerate(flood(FLOODS[kind], int(line), port)):
            if not number:
                print(flush=True)
            if select.select([sys.stdin], [], [], _SWEEP_TIME)[0]:
                break


async def _follow(kind: str, port: int) -> None:
    sys.stdin.readline()
    scheme = SCHEMES[kind]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheme.follow, Attacker(scheme.network, port))
        print(flush=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        nursery.cancel_scope.cancel(reason="the benchmark goes on without us")


if __name__ == "__main__":
    clients.allow_descriptors(_DESCRIPTORS)
    if sys.argv[1] in SCHEMES:
        trio.run(_follow, sys.argv[1], int(sys.argv[2]))
    else:
        _flood(sys.argv[1], int(sys.argv[2]))
