"""Which identity the shell tools use: one per user, made when it is first needed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import platformdirs

from .._errors import IdentityError
from .._identity.identity import Identity
from .run import CommandError


def configuration_path() -> Path:
    """Where the shell tools keep what they remember; the directory need not exist.

    Raises:
        CommandError: this user has none.
    """
    try:
        return platformdirs.user_config_path("trio_p2p", appauthor=False)
    except RuntimeError as error:
        raise CommandError(
            "this user has no home directory for what the shell tools remember: set HOME or "
            "XDG_CONFIG_HOME to a directory that you may write to"
        ) from error


def configuration_directory() -> Path:
    """The directory at :func:`configuration_path`, which is made if it does not exist.

    Raises:
        CommandError: it cannot be made.
    """
    directory = configuration_path()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"the directory {directory} cannot be made ({error.strerror}): set XDG_CONFIG_HOME to "
            "one that you may write to"
        ) from error
    return directory


def load_or_create_identity(path: str | None) -> Identity:
    """The identity in a file, which is created if it does not exist.

    Args:
        path: the file that the user named, or None for the user's own. If it is created, a line
            on standard error says so, as the name may have had a typo.

    Raises:
        CommandError: the directory of the user's own file cannot be made.
        IdentityError: the file cannot be used.
    """
    file = configuration_directory() / "identity.pem" if path is None else Path(path)
    if os.path.lexists(file):
        return Identity.load(file)
    identity = Identity.generate()
    try:
        identity.save(file)
    except IdentityError as error:
        if isinstance(error.__cause__, FileExistsError):  # another process was faster
            return Identity.load(file)
        raise
    if path is not None:
        with suppress(OSError):  # of a terminal that is closed
            print(f"trio-p2p: made a new identity, {identity.peer_id}, in {file}", file=sys.stderr)
    return identity
