"""What two peers say when one gives files to the other. Pure.

The giving side begins with an offer and its entries. The taking side asks for files, or declines.
A request is answered by Begin, then Pieces, each followed by so many bytes of content, and End; or
by Failed at any time.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias, get_args

import attrs

from .._wire.checks import check_bytes, check_integer
from .._wire.fields import MAX_COUNT, check_reason, field
from .._wire.message_codec import MessageCodec
from .names import check_name

PROTOCOL = "trio-p2p files 1"  # the name of the streams' protocol

MAX_ENTRIES = 100_000
MAX_PIECE_BYTES = 2**20
DIGEST_BYTES = 32  # SHA-256
PERMISSION_BITS = 0o777  # without setuid, setgid and the sticky bit
MAX_MODIFIED = 2**63 - 1  # nanoseconds since 1970: in the year 2262

_check_digest = check_bytes(DIGEST_BYTES)
_check_index = check_integer(0, MAX_ENTRIES - 1)
_check_size = check_integer(0, MAX_COUNT)


@attrs.frozen
class Offer:
    """So many entries follow."""

    type: ClassVar[str] = "files"
    entries: int = field(check_integer(1, MAX_ENTRIES))


@attrs.frozen
class Entry:
    """A file, or a folder.

    Attributes:
        name: its name in the folder that it is in.
        parent: the number of that folder among the entries, which precedes it; None at the top.
        size: the file's, in bytes; None for a folder.
        permissions: the file's, as chmod(2) has them, without bits that give a program another
            user's rights; None for a folder, and if nothing is said.
        modified: when the file was last changed, in nanoseconds since 1970; None if that is not
            said.
    """

    type: ClassVar[str] = "listed"
    name: str = field(check_name)
    parent: int | None = field(_check_index, None)
    size: int | None = field(_check_size, None)
    permissions: int | None = field(check_integer(0, PERMISSION_BITS), None)
    modified: int | None = field(check_integer(0, MAX_MODIFIED), None)


@attrs.frozen
class Get:
    """Ask for a file, from an offset on."""

    type: ClassVar[str] = "get"
    entry: int = field(_check_index)
    offset: int = field(_check_size)


@attrs.frozen
class Begin:
    """Reply to Get: content follows; if from an offset on, with the digest of what precedes."""

    type: ClassVar[str] = "begin"
    entry: int = field(_check_index)
    digest: bytes | None = field(_check_digest, None)


@attrs.frozen
class Piece:
    """So many bytes of the file follow this frame."""

    type: ClassVar[str] = "piece"
    length: int = field(check_integer(1, MAX_PIECE_BYTES))


@attrs.frozen
class End:
    """The file is complete; the SHA-256 of the whole of it."""

    type: ClassVar[str] = "complete"
    digest: bytes = field(_check_digest)


@attrs.frozen
class Failed:
    """The file that was asked for first cannot be given, or not to its end."""

    type: ClassVar[str] = "failed"
    reason: str = field(check_reason)


@attrs.frozen
class Decline:
    """The taking side wants nothing, or nothing more."""

    type: ClassVar[str] = "decline"
    reason: str = field(check_reason)


@attrs.frozen
class Done:
    """The taking side has all files, and their checksums are right."""

    type: ClassVar[str] = "done"


Message: TypeAlias = Offer | Entry | Get | Begin | Piece | End | Failed | Decline | Done
_codec: MessageCodec[Message] = MessageCodec(get_args(Message))
encode, decode_untrusted = _codec.encode, _codec.decode_untrusted
