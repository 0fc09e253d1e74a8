"""Lists of peers, of names, and of revoked tokens: what stands in an operator's files. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import attrs

from .._errors import LocalProtocolError
from .._identity.access_token import TOKEN_ID_BYTES
from .._identity.peer_id import PeerId, looks_like_peer_id
from .._wire.messages import MAX_UID_BYTES

_COMMENT = re.compile(r"(?:^|\s)#")  # within a word it belongs to a UID


@attrs.frozen
class Entries:
    """A list of peers and of names.

    Attributes:
        peers: the peers.
        names: the UIDs.
        patterns: of UIDs, with ``*`` and ``?``.
    """

    peers: frozenset[PeerId] = frozenset()
    names: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.peers or self.names or self.patterns)

    def names_uid(self, uid: str) -> bool:
        """Whether a UID is listed."""
        return uid in self.names or any(fnmatchcase(uid, each) for each in self.patterns)


NO_ENTRIES = Entries()


def parse_entries(lines: Iterable[str]) -> Entries:
    """The peers and names of a list: one on each line; what follows a ``#`` is a comment.

    Raises:
        LocalProtocolError: a line is neither; the error says which.
    """
    peers: set[PeerId] = set()
    names: set[str] = set()
    patterns: dict[str, None] = {}
    for number, line in _entries(lines):
        try:
            if looks_like_peer_id(line):
                peers.add(PeerId.parse(line))
                continue
        except LocalProtocolError as error:
            raise LocalProtocolError(f"line {number}: {error}") from error
        if not line.isprintable() or len(line.encode()) > MAX_UID_BYTES:
            raise LocalProtocolError(
                f"line {number}: this is no UID: give up to {MAX_UID_BYTES} bytes of text"
            )
        if any(character in line for character in "*?["):
            patterns[line] = None
        else:
            names.add(line)
    return Entries(frozenset(peers), frozenset(names), tuple(patterns))


def parse_revoked(lines: Iterable[str]) -> frozenset[bytes]:
    """The ids of revoked tokens, in the same form.

    Raises:
        LocalProtocolError: a line is no id; the error says which.
    """
    revoked: set[bytes] = set()
    for number, line in _entries(lines):
        try:
            identifier = bytes.fromhex(line)
        except ValueError:
            identifier = b""
        if len(identifier) != TOKEN_ID_BYTES:
            raise LocalProtocolError(
                f"line {number}: {line!r} is no id of a token, which has {2 * TOKEN_ID_BYTES} "
                "hexadecimal digits: `trio-p2p-broker token --show` says it"
            )
        revoked.add(identifier)
    return frozenset(revoked)


def _entries(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        entry = _COMMENT.split(line, maxsplit=1)[0].strip()
        if entry:
            yield number, entry
