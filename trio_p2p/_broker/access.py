"""The files by which a broker's operator says who may use it, read again when they change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from .._errors import LocalProtocolError
from .._identity.token_key import load_public_key
from .._net.calendar import unix_time
from .access_lists import Entries, parse_entries, parse_revoked
from .admission import AccessRules, Admission

LOOKING_TIME = 2.0  # seconds between two looks whether a file has changed
_MAX_FILE_BYTES = 64 << 20  # a list of a million peers has less

logger = logging.getLogger("trio_p2p.broker")

T = TypeVar("T")


@attrs.frozen
class AccessFiles:
    """Who may use a broker, in files.

    In the lists an entry stands on each line: a peer id, or a UID, in which ``*`` and ``?`` stand
    for any characters. What follows a ``#`` is a comment.

    Attributes:
        is_closed: whether only those are admitted that are allowed, or show a token.
        token_keys: the keys that tokens may be signed with, public or private ones in PEM.
        allow: the peers and UIDs that are admitted without a token.
        deny: the peers and UIDs that are not admitted, whatever else is said.
        revoked: the ids of tokens that are not valid any more.
    """

    is_closed: bool = False
    token_keys: tuple[Path, ...] = ()
    allow: Path | None = None
    deny: Path | None = None
    revoked: Path | None = None

    def read(self) -> AccessRules:
        """What stands in the files.

        Raises:
            LocalProtocolError: a file cannot be read, or they do not go together.
        """
        if self.is_closed and not (self.token_keys or self.allow):
            raise LocalProtocolError(
                "a closed broker without a key of tokens and without a list of those that are "
                "allowed admits none: give --token-key or --allow, too"
            )
        if not self.is_closed and (self.token_keys or self.allow or self.revoked):
            raise LocalProtocolError(
                "an open broker needs no tokens, and no list of those that are allowed: say "
                "--closed, too, or leave them out"
            )
        return AccessRules(
            self.is_closed,
            tuple(map(load_public_key, self.token_keys)),
            Entries() if self.allow is None else _read(self.allow, parse_entries),
            Entries() if self.deny is None else _read(self.deny, parse_entries),
            frozenset() if self.revoked is None else _read(self.revoked, parse_revoked),
        )

    def versions(self) -> tuple[object, ...]:
        """A value that is another one when a file was changed."""
        paths = (*self.token_keys, self.allow, self.deny, self.revoked)
        return tuple(None if path is None else _version(path) for path in paths)


class Access:
    """Who may use a broker, as its files say now.

    Args:
        files: the files, which are read at once.

    Attributes:
        admission: decides by them.

    Raises:
        LocalProtocolError: as :meth:`AccessFiles.read`.
    """

    def __init__(self, files: AccessFiles) -> None:
        self._files = files
        self._versions = files.versions()
        self.admission: Admission = Admission(unix_time, files.read())

    def reload(self, files: AccessFiles | None = None) -> None:
        """Read the files again, perhaps others; what was read before stays if they are wrong.

        Raises:
            LocalProtocolError: as :meth:`AccessFiles.read`.
        """
        files = files or self._files
        # Before they are read: what changes meanwhile is read once more.
        versions = files.versions()
        self._versions = versions if files == self._files else self._versions
        rules = files.read()
        self._files, self._versions = files, versions
        self.admission.rules = rules

    async def watch(self) -> None:
        """Read the files again whenever one has changed, until cancelled."""
        while True:
            await trio.sleep(LOOKING_TIME)
            if self._files.versions() == self._versions:
                continue
            try:
                self.reload()
            except LocalProtocolError as error:
                logger.warning("who may use this broker is not read again: %s", error)
            else:
                logger.info("who may use this broker was read again")


def _read(path: Path, parse: Callable[[list[str]], T]) -> T:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_FILE_BYTES)
        return parse(text.splitlines())
    except OSError as error:
        raise LocalProtocolError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise LocalProtocolError(f"{path} is no text in UTF-8") from error
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{path}, {error}") from error


def _version(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
