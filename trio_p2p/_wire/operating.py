"""The messages that help an operator: a broker that goes away, and what came of introductions."""

from __future__ import annotations

from typing import ClassVar

import attrs

from .._attempt import Technique
from .checks import check_member
from .fields import check_brokers, check_duration, check_retry_after, field
from .offer import Behaviour

_check_technique = check_member(Technique, "a technique")
_check_behaviour = check_member(Behaviour, "a behaviour")


@attrs.frozen
class Draining:
    """The broker goes away: come back after that time, or use one of those brokers at once."""

    type: ClassVar[str] = "draining"
    step: ClassVar[str] = "draining"
    retry_after: int = field(check_retry_after)
    brokers: tuple[str, ...] = field(check_brokers, ())


@attrs.frozen
class Report:
    """The sender's report of its search for a direct connection; no technique if it found none.

    It does not say whom the sender has searched for.
    """

    type: ClassVar[str] = "report"
    step: ClassVar[str] = "reporting"
    duration: int = field(check_duration)
    connected_by: Technique | None = field(_check_technique, None)
    mapping: Behaviour | None = field(_check_behaviour, None)
    peer_mapping: Behaviour | None = field(_check_behaviour, None)
