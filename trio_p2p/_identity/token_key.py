"""The key that access tokens are signed with, in a file of the broker's operator."""

from __future__ import annotations

import os
from pathlib import Path

from .._errors import IdentityError, LocalProtocolError
from .identity import Identity
from .keys import public_key_of

_PUBLIC = b"-----BEGIN PUBLIC KEY-----"
_MAX_FILE_BYTES = 16_384


def load_public_key(path: str | os.PathLike[str]) -> bytes:
    """The raw public key in a file with a public or a private Ed25519 key, in PEM.

    Raises:
        LocalProtocolError: there is none.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise LocalProtocolError(
            f"the key of tokens {name} cannot be read ({error.strerror}): make one with "
            f"trio-p2p-broker token --key {name}"
        ) from error
    try:
        if _PUBLIC not in data:
            return Identity.load(path).private_key.public_key().public_bytes_raw()
        key = public_key_of(data)
    except (IdentityError, ValueError) as error:
        text = error if isinstance(error, IdentityError) else f"{name} holds no public key in PEM"
        raise LocalProtocolError(f"this is no key of tokens: {text}") from error
    if key is None:
        raise LocalProtocolError(f"the key of tokens {name} is not an Ed25519 key: make another")
    return key
