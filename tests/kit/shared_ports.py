"""A shared port without a peer, and the proof that it waits for."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio_p2p._net.nursery import open_background_nursery
from trio_p2p._net.sockets import local_endpoint, open_bound_socket
from trio_p2p._traversal.check import PROOF_BYTES
from trio_p2p._traversal.shared_port import SharedPort, start_shared_port

PROOF = b"P" * PROOF_BYTES


@asynccontextmanager
async def open_port_somewhere(*, asks: bool = False) -> AsyncGenerator[SharedPort]:
    with open_bound_socket(socket.AF_INET) as holding:
        async with open_background_nursery() as nursery:
            yield start_shared_port(nursery, local_endpoint(holding), asks=asks)
