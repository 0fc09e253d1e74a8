"""The key that access tokens are signed with, in a file of the broker's operator."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .._errors import IdentityError, LocalProtocolError
from .identity import Identity

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
        key = load_pem_public_key(data)
    except (IdentityError, ValueError, UnsupportedAlgorithm) as error:
        text = error if isinstance(error, IdentityError) else f"{name} holds no public key in PEM"
        raise LocalProtocolError(f"this is no key of tokens: {text}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise LocalProtocolError(f"the key of tokens {name} is not an Ed25519 key: make another")
    return key.public_bytes_raw()
