"""What an :exc:`OSError` of the socket layer means: the only place that knows errno."""

from __future__ import annotations

import errno
import os

from .._attempt import Outcome


def error_from(number: int) -> OSError:
    """The error of a call that has returned or left behind an errno."""
    return OSError(number, os.strerror(number))


def outcome_of(error: OSError) -> Outcome:
    """What an error of a connecting socket says about the network."""
    match error.errno:
        case errno.ECONNREFUSED | errno.ECONNRESET | errno.EPIPE:
            return Outcome.REFUSED
        case errno.ETIMEDOUT:
            return Outcome.SILENT
        case errno.EADDRNOTAVAIL | errno.EADDRINUSE:
            return Outcome.TAKEN
        case _:
            return Outcome.UNREACHABLE


def is_expiry(error: OSError) -> bool:
    """Whether a connecting socket's error may say that its SYN has died on the way."""
    return error.errno == errno.EHOSTUNREACH


def is_out_of_resources(error: OSError) -> bool:
    """Whether this process or the system has no descriptors or buffers left."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def is_under_way(number: int) -> bool:
    """Whether a connect that has returned this errno has succeeded, or still may."""
    return number in (0, errno.EINPROGRESS)


def timeout_error() -> OSError:
    """The error of a connecting socket that has waited for long enough."""
    return error_from(errno.ETIMEDOUT)


def refused_error() -> OSError:
    """The error of a connecting socket that has reached nobody."""
    return error_from(errno.ECONNREFUSED)
