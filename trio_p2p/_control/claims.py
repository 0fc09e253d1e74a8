"""Which introduction has a local port towards a remote endpoint.

Between two endpoints there is one TCP connection at a time, and a NAT on the way that has seen the
first packets of one lets none of another pass for a while. So the port of a connection to the
broker, which all introductions share, serves one introduction for each remote endpoint. Others come
from fresh ports.

Two peers that ask for each other at the same moment want the same pair of endpoints (*glare*). Then
that introduction is kept which was asked for by the lower peer id, as both sides know.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import attrs
import trio

from .._addresses import Endpoint
from .._identity.peer_id import PeerId

MAX_CLAIMS = 4096  # that are remembered


@attrs.define(eq=False)
class _Claim:
    """One introduction's.

    Attributes:
        asker: the peer that has asked for the introduction.
        scope: ends what the introduction does.
        is_settled: whether it has ended, well or not.
    """

    asker: PeerId
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_settled: bool = False


class ClaimedError(Exception):
    """Another introduction has the port towards the endpoint."""


class Claims:
    """The introductions that have used a port."""

    def __init__(self) -> None:
        self._claims: dict[Endpoint, _Claim] = {}

    @contextmanager
    def claimed(self, remote: Endpoint, asker: PeerId) -> Generator[None]:
        """Have the port towards an endpoint while the block lasts; nothing else has it afterwards.

        Args:
            remote: where the broker sees the other peer.
            asker: the peer that has asked for the introduction.

        Raises:
            ClaimedError: another introduction has it, perhaps since the block has begun.
        """
        rival = self._claims.get(remote)
        if rival is not None:
            if rival.is_settled or rival.asker.digest <= asker.digest:
                raise ClaimedError
            rival.scope.cancel(reason="the other peer has asked for the same at the same time")
        claim = self._claims[remote] = _Claim(asker)
        while len(self._claims) > MAX_CLAIMS:
            del self._claims[next(iter(self._claims))]
        try:
            with claim.scope:
                yield
        finally:
            claim.is_settled = True
        if claim.scope.cancelled_caught:
            raise ClaimedError
