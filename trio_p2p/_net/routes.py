"""How packets get from this host to others, as values."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

import attrs

from .._addresses import Endpoint, IPAddress

# Where routes to the internet should lead. No packet goes there.
SOMEWHERE: Final = Endpoint(IPv4Address("1.1.1.1"), 443)
SOMEWHERE_IPV6: Final = Endpoint(IPv6Address("2606:4700:4700::1111"), 443)


@attrs.frozen
class KernelRoute:
    """How packets get from this host to an endpoint.

    Attributes:
        source: the address that they are sent from.
        gateway: the router that they go to first; None if there is none, or the system does not
            tell.
    """

    source: IPAddress
    gateway: IPAddress | None


class RouteNews(Protocol):
    """What the system tells when links, addresses or routes have changed."""

    def is_pending(self) -> bool:
        """Whether something has changed since :meth:`drain`."""
        ...

    async def wait(self) -> None:
        """Wait until something has changed; one task at a time."""
        ...

    def drain(self) -> None:
        """Forget what has changed so far."""
        ...

    def close(self) -> None:
        """Hear of nothing more."""
        ...
