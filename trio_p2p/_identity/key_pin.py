"""The pin of a broker's TLS key: what tells it from all others without any authority. Pure."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate


def pin_of_untrusted(certificate: bytes) -> bytes | None:
    """The SHA-256 of the public key in a certificate, as RFC 7469 has it; None if there is none.

    The key may stay when the certificate is renewed.

    Args:
        certificate: in DER, of any content.
    """
    try:
        key = load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()
