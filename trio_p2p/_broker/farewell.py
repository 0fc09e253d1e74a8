"""What a broker that goes away still does, and what it tells its clients. Sans-IO."""

from __future__ import annotations

import math

from .._wire.messages import Draining, IntroductionRequest, Message, RefusalCode, Register
from .refusals import refuse

# Seconds after which two peers that were told of each other have connected or given up: as long as
# rounds of the fast technique last, unless ports are guessed or round trips are very long.
INTRODUCED_TIME = 5.0


class Farewell:
    """Whether the broker goes away.

    Attributes:
        notice: what control connections are told; None as long as the broker stays.
    """

    def __init__(self) -> None:
        self.notice: Draining | None = None
        self._introduced_at = -math.inf

    def introduced(self, now: float) -> None:
        """Two peers were told of each other, and the broker hears no more of that."""
        self._introduced_at = now

    def is_settled(self, now: float) -> bool:
        """Whether no peers need their control connections for a connection to each other."""
        return now >= self._introduced_at + INTRODUCED_TIME

    def check(self, message: Message) -> None:
        """Check that a message begins nothing that a broker does not begin any more.

        Raises:
            RefusalError: the broker goes away.
        """
        if self.notice is None:
            return
        if isinstance(message, Register | IntroductionRequest):
            refuse(
                RefusalCode.BUSY,
                "this broker is being stopped: use another one, or come back later",
                message.number,
                retry_after=self.notice.retry_after / 1000,
            )
