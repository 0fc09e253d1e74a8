"""Ed25519 keys: made, read and written, and used to verify.

``cryptography`` is imported when the first key is used. To load it takes a third as long as to load
Trio, which each start of a program would pay for, also of one that only prints a text. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def generate_private_key() -> Ed25519PrivateKey:
    """A new private key."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - see above

    return ed25519.Ed25519PrivateKey.generate()


def private_key_of(pem: bytes) -> Ed25519PrivateKey | None:
    """The private key in a PEM; None if it is not one for Ed25519.

    Raises:
        TypeError: it is encrypted.
        ValueError: there is no private key in it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    return key if isinstance(key, ed25519.Ed25519PrivateKey) else None


def pem_of(key: Ed25519PrivateKey) -> bytes:
    """A private key as PKCS #8 in PEM, unencrypted: keep it secret."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_key_of(pem: bytes) -> bytes | None:
    """The raw public key in a PEM; None if it is not one for Ed25519.

    Raises:
        ValueError: there is no public key in it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    return key.public_bytes_raw() if isinstance(key, ed25519.Ed25519PublicKey) else None


def is_signed_with(public_key: bytes, signature: bytes, statement: bytes) -> bool:
    """Whether the holder of a key has signed a statement.

    Args:
        public_key: the 32 bytes of the public key.
        signature: of any length.
        statement: what has to be signed.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except InvalidSignature:
        return False
    return True
