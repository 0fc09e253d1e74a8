"""Certificates for brokers in tests, of an authority that no system trusts."""

import datetime as dt
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from trio_p2p._broker.tls import TLSFiles

_BEGIN = dt.datetime(2020, 1, 1)  # noqa: DTZ001 - as cryptography wants it
_END = dt.datetime(2090, 1, 1)  # noqa: DTZ001


class Authority:
    """An authority that signs certificates for addresses and names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = Ed25519PrivateKey.generate()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        usage = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = self._sign(self._name, self._key, usage)
        self.file = directory / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(
        self, *names: str, key: Ed25519PrivateKey | None = None, name: str = "broker"
    ) -> TLSFiles:
        """Files with a certificate for some names, and its key."""
        key = key or Ed25519PrivateKey.generate()
        alternatives = x509.SubjectAlternativeName(list(map(_general_name, names)))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
        certificate = self._sign(subject, key, alternatives)
        files = TLSFiles(self._directory / f"{name}.pem", self._directory / f"{name}-key.pem")
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _sign(
        self, subject: x509.Name, key: Ed25519PrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_BEGIN)
            .not_valid_after(_END)
            .add_extension(extension, critical=False)
            .sign(self._key, None)
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
