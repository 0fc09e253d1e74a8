"""What servers of a benchmark speak TLS with: a certificate as authorities issue them today."""

import datetime as dt
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from trio_p2p._broker.tls import BrokerTLS, TLSFiles

_BEGIN = dt.datetime(2020, 1, 1)  # noqa: DTZ001 - as cryptography wants it
_CURVE = ec.SECP256R1()
_END = dt.datetime(2090, 1, 1)  # noqa: DTZ001


def make_broker_tls(*, is_rsa: bool = False) -> BrokerTLS:
    """What a broker speaks TLS with: a new key, of ECDSA or RSA, and its certificate."""
    key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(_CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .sign(key, SHA256())
    )
    with tempfile.TemporaryDirectory() as directory:
        files = TLSFiles(Path(directory, "broker.pem"), Path(directory, "key.pem"))
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return BrokerTLS(files)


def make_server_context() -> ssl.SSLContext:
    """The context of a server that is no broker, with all that a broker's has."""
    context = make_broker_tls().context
    assert context is not None
    return context


def make_client_context() -> ssl.SSLContext:
    """The context of a client that trusts every server."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
