"""The receiver that the user has named: by a UID, or by a code that is proven first."""

from __future__ import annotations

import argparse

from .._peer.peer import Peer
from .codes.code import Code, looks_like_code
from .codes.opener import prove_code
from .peer_options import brokers_of
from .trusted_receiver import TrustedReceiver


async def receiver_named(peer: Peer, name: str, options: argparse.Namespace) -> TrustedReceiver:
    """The receiver; what has proven a code is expected under its UID from then on.

    Args:
        peer: what connects to it.
        name: the UID or code.
        options: of the command line.

    Raises:
        LocalProtocolError: it looks like a code, and is none.
        CommandError: the other side does not know the code; or what is remembered of a UID cannot
            be read.
        P2PError: as :meth:`Peer.open_stream`.
    """
    broker = brokers_of(options)[0].address
    if not looks_like_code(name):
        return TrustedReceiver(peer, broker, name, options.expect)
    code = Code.parse(name)
    expected = await prove_code(peer, code, wait=options.wait)
    return TrustedReceiver(peer, broker, code.uid, expected)
