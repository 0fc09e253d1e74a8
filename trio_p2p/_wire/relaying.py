"""The messages by which a broker relays between two peers."""

from __future__ import annotations

from typing import ClassVar

import attrs

from .fields import (
    check_certificate,
    check_count,
    check_id,
    check_idle_time,
    check_number,
    check_origin,
    field,
)


@attrs.frozen
class RelayRequest:
    """A sender asks to be relayed to the receiver, who then joins on another connection."""

    type: ClassVar[str] = "relay_request"
    step: ClassVar[str] = "relay 2"
    introduction: bytes = field(check_id)
    certificate: bytes = field(check_certificate)
    registration: int | None = field(check_number, None)
    origin: bytes | None = field(check_origin, None)


@attrs.frozen
class JoinRelay:
    """The receiver's connection for the relay."""

    type: ClassVar[str] = "join_relay"
    step: ClassVar[str] = "relay 3"
    introduction: bytes = field(check_id)


@attrs.frozen
class Relayed:
    """From here on the connection carries what the peers say; both get one, the last message.

    Should the broker end the circuit, then behind the circuit's id comes a last ``refused``; its
    code is ``busy`` if the peers may ask to be relayed again.
    """

    type: ClassVar[str] = "relayed"
    step: ClassVar[str] = "relay 4"
    circuit: bytes = field(check_id)
    certificate: bytes | None = field(check_certificate, None)
    bytes_per_second: int | None = field(check_count, None)
    max_bytes: int | None = field(check_count, None)
    idle_time: int | None = field(check_idle_time, None)
