"""Certificates and proofs, as honest and as hostile peers send them."""

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, strategies as st

from trio_p2p._addresses import Endpoint
from trio_p2p._errors import RemoteProtocolError
from trio_p2p._identity.certificate import (
    introduction_statement,
    is_signed_untrusted,
    peer_id_of_untrusted,
    public_key_of_untrusted,
    registration_statement,
)
from trio_p2p._identity.identity import Identity
from trio_p2p._identity.peer_id import PeerId
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_UID_BYTES,
    SIGNATURE_BYTES,
)

IDENTITY = Identity.generate()
CERTIFICATE = IDENTITY.certificate
CHALLENGE = bytes(range(CHALLENGE_BYTES))
UID = "größe"
BROKER = Endpoint(IPv4Address("192.0.2.1"), 4433)
STATEMENT = registration_statement(CHALLENGE, BROKER, UID)
SIGNATURE = IDENTITY.sign_registration(CHALLENGE, BROKER, UID)

PrivateKey = (
    ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
)
FUNCTIONS: list[Callable[[bytes], object]] = [
    public_key_of_untrusted,
    peer_id_of_untrusted,
    lambda certificate: is_signed_untrusted(certificate, SIGNATURE, STATEMENT),
]


def make_certificate(key: PrivateKey, name: str = "p", serial: int = 1) -> bytes:
    """Make a self-signed certificate; with an Ed25519 key and the defaults, that of an identity."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .serial_number(serial)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))
        .public_key(key.public_key())
        .sign(key, algorithm)
        .public_bytes(Encoding.DER)
    )


def assert_refused(certificate: bytes) -> None:
    for function in FUNCTIONS:
        with pytest.raises(RemoteProtocolError, match="not one of this version"):
            function(certificate)


def test_a_certificate_is_what_an_x509_library_makes_of_the_same_key() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    certificate = make_certificate(key)
    assert certificate == Identity(key).certificate
    assert public_key_of_untrusted(certificate) == key.public_key().public_bytes_raw()


def test_a_certificate_fits_into_a_message_and_is_self_signed() -> None:
    assert len(CERTIFICATE) == 198 <= MAX_CERTIFICATE_BYTES
    parsed = x509.load_der_x509_certificate(CERTIFICATE)
    parsed.verify_directly_issued_by(parsed)


def test_a_certificate_tells_the_peer_id() -> None:
    public_key = public_key_of_untrusted(CERTIFICATE)
    assert peer_id_of_untrusted(CERTIFICATE) == PeerId.of_public_key(public_key)
    assert peer_id_of_untrusted(CERTIFICATE) == IDENTITY.peer_id


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(make_certificate(rsa.generate_private_key(65537, 2048)), id="RSA"),
        pytest.param(make_certificate(ec.generate_private_key(ec.SECP256R1())), id="P-256"),
        pytest.param(make_certificate(ed448.Ed448PrivateKey.generate()), id="Ed448"),
        pytest.param(
            make_certificate(ed25519.Ed25519PrivateKey.generate(), name="q"), id="another name"
        ),
        pytest.param(
            make_certificate(ed25519.Ed25519PrivateKey.generate(), serial=2), id="another serial"
        ),
        pytest.param(IDENTITY.certificate_pem(), id="PEM"),
        pytest.param(b"", id="nothing"),
        pytest.param(CERTIFICATE + b"\0", id="one byte more"),
        pytest.param(CERTIFICATE * 2, id="two"),
        pytest.param(bytes(2**24), id="huge"),
        pytest.param(b"\x30\x84\xff\xff\xff\xff" + CERTIFICATE, id="says to be huge"),
        pytest.param(b"\x30\x80" * 500_000, id="nested without end"),
    ],
)
def test_another_certificate_is_refused(certificate: bytes) -> None:
    assert_refused(certificate)


def test_a_truncated_certificate_is_refused() -> None:
    for length in range(len(CERTIFICATE)):
        assert_refused(CERTIFICATE[:length])
        assert_refused(CERTIFICATE[length + 1 :])


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(certificate: bytes) -> None:
    assert_refused(certificate)


@given(st.integers(0, len(CERTIFICATE) - 1), st.integers(1, 255))
def test_a_changed_certificate_is_refused_or_not_proven(position: int, change: int) -> None:
    changed = bytearray(CERTIFICATE)
    changed[position] ^= change
    in_key, in_signature = 92 <= position < 124, position >= len(CERTIFICATE) - SIGNATURE_BYTES
    if not in_key and not in_signature:
        assert_refused(bytes(changed))
    elif in_key:
        assert peer_id_of_untrusted(bytes(changed)) != IDENTITY.peer_id
        assert not is_signed_untrusted(bytes(changed), SIGNATURE, STATEMENT)
    else:
        assert peer_id_of_untrusted(bytes(changed)) == IDENTITY.peer_id


def test_a_registration_is_proven() -> None:
    assert is_signed_untrusted(CERTIFICATE, SIGNATURE, STATEMENT)


def test_a_replayed_proof_is_refused() -> None:
    other_challenge = bytes(CHALLENGE_BYTES)
    assert not is_signed_untrusted(
        CERTIFICATE, SIGNATURE, registration_statement(other_challenge, BROKER, UID)
    )


def test_a_proof_for_another_broker_is_refused() -> None:
    elsewhere = attrs.evolve(BROKER, port=BROKER.port + 1)
    statement = registration_statement(CHALLENGE, elsewhere, UID)
    assert not is_signed_untrusted(CERTIFICATE, SIGNATURE, statement)


def test_a_proof_of_a_registration_is_none_of_an_introduction() -> None:
    search = bytes(16)
    proof = IDENTITY.sign_introduction(search, UID)
    assert is_signed_untrusted(CERTIFICATE, proof, introduction_statement(search, UID))
    assert not is_signed_untrusted(CERTIFICATE, proof, registration_statement(search, BROKER, UID))


def test_a_proof_for_another_uid_is_refused() -> None:
    assert not is_signed_untrusted(
        CERTIFICATE, SIGNATURE, registration_statement(CHALLENGE, BROKER, "grösse")
    )


def test_a_proof_by_another_key_is_refused() -> None:
    other = Identity.generate()
    assert not is_signed_untrusted(other.certificate, SIGNATURE, STATEMENT)


def test_the_signature_of_a_certificate_proves_no_registration() -> None:
    self_signature = CERTIFICATE[-SIGNATURE_BYTES:]
    assert not is_signed_untrusted(CERTIFICATE, self_signature, STATEMENT)


@given(st.binary(max_size=2 * SIGNATURE_BYTES))
def test_random_bytes_prove_no_registration(signature: bytes) -> None:
    assert not is_signed_untrusted(CERTIFICATE, signature, STATEMENT)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_a_key_that_is_no_point_of_the_curve_proves_nothing(key: bytes, proof: bytes) -> None:
    certificate = CERTIFICATE[:92] + key + CERTIFICATE[124:]
    try:
        is_proven = is_signed_untrusted(certificate, proof, STATEMENT)
    except RemoteProtocolError:  # a weak one
        return
    assert not is_proven


@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_key_that_anybody_can_sign_for_is_refused(sign: int) -> None:
    neutral = bytes([1, *bytes(30), sign])
    certificate = CERTIFICATE[:92] + neutral + CERTIFICATE[124:]
    with pytest.raises(RemoteProtocolError, match="every host can sign"):
        is_signed_untrusted(certificate, neutral + bytes(32), STATEMENT)


@given(
    *(st.binary(max_size=CHALLENGE_BYTES), st.text(max_size=MAX_UID_BYTES // 4)) * 2,
)
def test_different_registrations_make_different_statements(
    challenge: bytes, uid: str, other_challenge: bytes, other_uid: str
) -> None:
    same = (challenge, uid) == (other_challenge, other_uid)
    statement = registration_statement(challenge, BROKER, uid)
    assert (statement == registration_statement(other_challenge, BROKER, other_uid)) == same


def test_a_statement_is_unambiguous() -> None:
    assert registration_statement(b"ab", BROKER, "c") != registration_statement(b"a", BROKER, "bc")
    assert STATEMENT.startswith(b"trio_p2p registration\0")
