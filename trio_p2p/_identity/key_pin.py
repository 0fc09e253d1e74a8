"""The pin of a broker's TLS key: what tells it from all others without any authority. Pure."""

from __future__ import annotations

import hashlib


def pin_of_untrusted(certificate: bytes) -> bytes | None:
    """The SHA-256 of the public key in a certificate, as RFC 7469 has it; None if there is none.

    The key may stay when the certificate is renewed.

    Args:
        certificate: in DER, of any content.
    """
    # Imported only where a broker is pinned: a third of the time that it takes to load Trio.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return hashlib.sha256(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).digest()
