"""Rates of what clients do: token buckets, whose clients wait when a bucket is empty. Sans-IO."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

import attrs

from .._wire.messages import Identify, Message, Register

MAX_SOURCES = 16_384  # that are remembered
PROOF_COST = 4  # messages: a registration and an identification have a signature to check
# Seconds that a connection waits at most, so that its end is noticed soon enough. What it owes
# beyond that is not forgiven.
MAX_PAUSE = 5.0


def cost_of(message: Message) -> int:
    """How many messages a message counts as."""
    return PROOF_COST if isinstance(message, Register | Identify) else 1


@attrs.frozen
class Rate:
    """A token bucket, as the time until which is paid for what was taken.

    Attributes:
        per_second: how many tokens come in a second.
        burst_time: for how many seconds the bucket takes them.
    """

    per_second: float
    burst_time: float

    def spend(self, paid_until: float, count: float, now: float) -> float:
        """Take some tokens, be they there or not; until when is paid then."""
        return max(paid_until, now - self.burst_time) + count / self.per_second


class SourceRates:
    """A bucket for each source that has taken something lately.

    Args:
        rate: of each.
        total: how many sources are remembered; of more, the one that came last the longest ago is
            forgotten.

    Attributes:
        rate: the argument of this name; may be replaced at any time.
    """

    def __init__(self, rate: Rate, total: int = MAX_SOURCES) -> None:
        self.rate: Rate = rate
        self._total = total
        self._paid_until: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._paid_until)

    def pause(self, source: Hashable, now: float) -> float:
        """How many seconds until a source's bucket has something again."""
        return max(0.0, self._paid_until.get(source, -math.inf) - now)

    def spend(self, source: Hashable, count: float, now: float) -> float:
        """Take some tokens of a source; how many seconds it has to wait now."""
        paid_until = self.rate.spend(self._paid_until.get(source, -math.inf), count, now)
        self._paid_until[source] = paid_until
        self._paid_until.move_to_end(source)
        if len(self._paid_until) > self._total:
            self._paid_until.popitem(last=False)
        return max(0.0, paid_until - now)
