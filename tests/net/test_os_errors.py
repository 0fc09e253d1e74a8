"""What errors of the socket layer mean."""

import errno
import os

import pytest

from trio_p2p import Outcome
from trio_p2p._net.os_errors import outcome_of


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ECONNRESET, Outcome.REFUSED),
        (errno.ETIMEDOUT, Outcome.SILENT),
        (errno.EADDRNOTAVAIL, Outcome.TAKEN),
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ENETUNREACH, Outcome.UNREACHABLE),
    ],
)
def test_outcome_of_an_error(number: int, outcome: Outcome) -> None:
    assert outcome_of(OSError(number, os.strerror(number))) is outcome
