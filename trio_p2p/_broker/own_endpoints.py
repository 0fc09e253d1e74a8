"""Which endpoints are this broker's own: a registration is signed for one of them. Pure.

Without that a hostile broker could pass on this one's challenge, and register its client here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .._addresses import Endpoint, is_public


def _ignore(_named: Endpoint, _local: Endpoint) -> None:
    """Do nothing."""


class OwnEndpoints:
    """The endpoints that clients connect to.

    A broker whose host has only private or loopback addresses cannot know where clients find it.
    So there any endpoint is taken for its own, unless it was told of some.

    Args:
        external: those that this host does not have itself, because a NAT or a proxy does.
        taken: told of an endpoint, and the local one, that was taken although it is neither.

    Attributes:
        external: the argument of this name; may be replaced at any time.
    """

    def __init__(
        self,
        external: Iterable[Endpoint] = (),
        taken: Callable[[Endpoint, Endpoint], None] = _ignore,
    ) -> None:
        self.external: frozenset[Endpoint] = frozenset(external)
        self._taken = taken

    def include(self, named: Endpoint, local: Endpoint) -> bool:
        """Whether an endpoint is the broker's own.

        Args:
            named: the endpoint that a client says it has connected to.
            local: of the connection that the client says so on.
        """
        if named == local or named in self.external:
            return True
        if self.external or (is_public(local.address) and not local.address.is_loopback):
            return False
        self._taken(named, local)
        return True
