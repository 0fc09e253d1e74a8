"""The calendar: by it tokens expire, and nothing else here has a use for it."""

from __future__ import annotations

import time


def unix_time() -> float:
    """The seconds since 1970, as far as this host's clock is right."""
    return time.time()  # noqa: TID251 - what expires on a date needs the date
