"""What keeps files from being given or taken; the texts are for the user. Pure."""

from __future__ import annotations

from .._errors import P2PError


class FilesError(P2PError):
    """Files cannot be given or taken, for a reason on this host or the other one."""
