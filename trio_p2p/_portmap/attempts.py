"""What came of asking a router for a port mapping, protocol by protocol. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from .._addresses import Endpoint
from .._errors import P2PError


class MappingProtocol(enum.StrEnum):
    """A protocol that routers are asked in; in the order in which they are tried."""

    PCP = "PCP"
    """The Port Control Protocol (RFC 6887)."""
    NAT_PMP = "NAT-PMP"
    """The NAT Port Mapping Protocol (RFC 6886)."""
    UPNP = "UPnP IGD"
    """The Internet Gateway Device of Universal Plug and Play; needs the extra ``upnp``."""


class MappingOutcome(enum.StrEnum):
    """Why a protocol gave no mapping."""

    NO_GATEWAY = "no default gateway is known"
    """This host has no gateway, or its system does not tell which."""
    NOT_INSTALLED = "the package miniupnpc is not installed"
    ABSENT = "the router does not offer it"
    """The router does not speak the protocol: it sent an ICMP error, or none answered a search."""
    SILENT = "the router did not answer"
    UNREACHABLE = "the router cannot be reached"
    UNSUPPORTED_VERSION = "the router speaks another version"
    REFUSED = "the router refused"
    MALFORMED = "the router's answers made no sense"


@attrs.frozen
class MappingAttempt:
    """One attempt, which failed.

    Attributes:
        protocol: the protocol that the router was asked in.
        outcome: what came of the attempt.
        detail: what the router or the system said; may be empty.
    """

    protocol: MappingProtocol
    outcome: MappingOutcome
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}: {self.outcome}" + (f" ({self.detail})" if self.detail else "")


class MappingFailedError(P2PError):
    """One protocol gave no mapping; see :attr:`attempt`.

    Attributes:
        attempt: the attempt, and its outcome.
    """

    def __init__(
        self, protocol: MappingProtocol, outcome: MappingOutcome, detail: str = ""
    ) -> None:
        self.attempt = MappingAttempt(protocol, outcome, detail)
        super().__init__(str(self.attempt))


class PortMappingError(P2PError):
    """No protocol gave a port mapping.

    The causes, one :exc:`MappingFailedError` per protocol, are in the :exc:`ExceptionGroup` that
    is this error's ``__cause__``.

    Attributes:
        attempts: what came of each protocol, in the order in which they were tried.
    """

    def __init__(self, failures: Sequence[MappingFailedError]) -> None:
        self.attempts = tuple(failure.attempt for failure in failures)
        super().__init__(
            "the router maps no port to this host; switch PCP, NAT-PMP or UPnP on in its settings "
            f"({'; '.join(map(str, self.attempts))})"
        )
        self.__cause__ = ExceptionGroup("no protocol gave a port mapping", failures)


@attrs.frozen
class Grant:
    """What a router has granted.

    Attributes:
        external: where the internet, or the next NAT, reaches the mapped port.
        lifetime: seconds until the mapping ends if it is not renewed.
    """

    external: Endpoint
    lifetime: float
