"""The broker's log: what an operator wants to read of its work."""

from __future__ import annotations

import logging
import math

import trio

from .._addresses import Endpoint
from .._net.log_limit import Private, RepeatedLine
from .._wire.messages import RefusalCode, Refused
from .observer import Observer

logger = logging.getLogger("trio_p2p.broker")


class LogObserver(Observer):
    """Writes one line for each event; refusals are counted, and said once in a minute."""

    def __init__(self) -> None:
        self._refusals = {code: RepeatedLine(logger, logging.INFO) for code in RefusalCode}
        self._endings: dict[str, RepeatedLine] = {}
        self._believed = RepeatedLine(logger, logging.WARNING, math.inf)

    def registered(self, uid: str, endpoint: Endpoint) -> None:
        logger.info("receiver %s registered from %s", Private(uid), endpoint)

    def unregistered(self, uid: str) -> None:
        logger.info("receiver %s unregistered", Private(uid))

    def refused(self, endpoint: Endpoint, refusal: Refused) -> None:
        line = self._refusals[refusal.code]
        now = trio.current_time()
        line.say(now, "client %s refused (%s): %s", endpoint, refusal.code, refusal.reason)

    def timed_out(self, endpoint: Endpoint, ending: str, standing: str) -> None:
        line = self._endings.setdefault(ending, RepeatedLine(logger, logging.INFO))
        line.say(trio.current_time(), f"client %s {ending} (%s)", endpoint, standing)

    def believed(self, named: Endpoint, local: Endpoint) -> None:
        self._believed.say(
            trio.current_time(),
            "a receiver has registered with the broker at %s, and has come to %s, which is no "
            "public address: such registrations are taken, though another broker may have passed "
            "them on. Say with --external where clients find this broker",
            named,
            local,
        )

    def relay_ended(self, carried: int, seconds: float) -> None:
        logger.info("relay ended: %d bytes in %.1f s", carried, seconds)
