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


_ON_THIS_HOST = {
    errno.EMFILE: "close streams, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close programs, or raise the system's limit of open files (fs.file-max)",
    errno.ENOBUFS: "the system has no memory left for sockets; close connections",
    errno.ENOMEM: "the system has no memory left for sockets; close connections",
    errno.EADDRINUSE: "no local port is free; close connections, or allow for more ports "
    "(net.ipv4.ip_local_port_range)",
    errno.EADDRNOTAVAIL: "no local port is free, or this host has lost the address; close "
    "connections, or see its network",
    errno.EACCES: "see this host's firewall, or the sandbox that the program runs in",
    errno.EPERM: "see this host's firewall, or the sandbox that the program runs in",
}


def is_of_this_host(error: OSError) -> bool:
    """Whether a socket could not be opened or connected for lack of something on this host."""
    return error.errno in _ON_THIS_HOST


def explain(error: OSError) -> str:
    """What an error of this host's sockets says to its user, and what to do."""
    advice = _ON_THIS_HOST.get(error.errno or 0, "see this host's network")
    return f"{error.strerror or error}: {advice}"


def is_under_way(number: int) -> bool:
    """Whether a connect that has returned this errno has succeeded, or still may."""
    return number in (0, errno.EINPROGRESS)


def timeout_error() -> OSError:
    """The error of a connecting socket that has waited for long enough."""
    return error_from(errno.ETIMEDOUT)


def no_room_error() -> OSError:
    """The error of a socket that takes nothing although nothing is under way over it."""
    return error_from(errno.ENOBUFS)


def refused_error() -> OSError:
    """The error of a connecting socket that has reached no listener."""
    return error_from(errno.ECONNREFUSED)
