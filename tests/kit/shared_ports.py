"""A shared port without a peer, and the proof that it waits for."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio_p2p._net.nursery import open_background_nursery
from trio_p2p._net.sockets import local_endpoint, open_bound_socket
from trio_p2p._traversal.proofs import Role, Word, proofs
from trio_p2p._traversal.shared_port import SharedPort, Strangers, start_shared_port
from trio_p2p._wire.messages import NONCE_BYTES

NONCE = b"n" * NONCE_BYTES
EXPECTED = proofs(NONCE, Role.RECEIVER)  # what a receiver waits for
PROOF = EXPECTED.words[Word.SENDERS_PROOF]  # what its sender says


@asynccontextmanager
async def open_port_somewhere(
    strangers: Strangers | None = None,
) -> AsyncGenerator[SharedPort]:
    with open_bound_socket(socket.AF_INET) as holding:
        async with open_background_nursery() as nursery:
            yield start_shared_port(nursery, local_endpoint(holding), strangers or Strangers())
